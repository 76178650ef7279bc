-- name: get
-- sealed: files($1): body
SELECT body FROM files
WHERE file_id = $1 AND project_id = $2 AND blob IS NOT NULL AND (expires_at IS NULL OR expires_at > $3);

-- name: find
-- sealed: files(file_id): body
SELECT file_id, body FROM files
WHERE file_id = ANY ($1::text[]) AND project_id = $2
  AND blob IS NOT NULL AND (expires_at IS NULL OR expires_at > $3);

-- name: creation (the event that created the file last)
-- sealed: events($1, version): content
SELECT version, content, schema_version FROM events
WHERE stream_id = $1 AND type = 'file.created'
ORDER BY version DESC
LIMIT 1;

-- name: list_position
SELECT created_at, file_id AS id FROM files WHERE file_id = $1 AND project_id = $2;

-- name: list_asc
-- sealed: files(file_id): body
SELECT file_id, body FROM files
WHERE project_id = $1 AND blob IS NOT NULL AND (expires_at IS NULL OR expires_at > $2)
  AND ($3::text IS NULL OR purpose = $3)
  AND ($4::timestamptz IS NULL OR (created_at, file_id) > ($4, $5))
  AND ($6::timestamptz IS NULL OR (created_at, file_id) < ($6, $7))
ORDER BY created_at, file_id
LIMIT $8;

-- name: list_desc
-- sealed: files(file_id): body
SELECT file_id, body FROM files
WHERE project_id = $1 AND blob IS NOT NULL AND (expires_at IS NULL OR expires_at > $2)
  AND ($3::text IS NULL OR purpose = $3)
  AND ($4::timestamptz IS NULL OR (created_at, file_id) > ($4, $5))
  AND ($6::timestamptz IS NULL OR (created_at, file_id) < ($6, $7))
ORDER BY created_at DESC, file_id DESC
LIMIT $8;

-- name: find_overdue (a declared fan-out, of the sweep)
SELECT file_id AS id, project_id FROM files
WHERE blob IS NOT NULL AND expires_at <= $1
ORDER BY expires_at
LIMIT $2;

-- name: stored_bytes (files, parts of pending uploads, and the text and vectors of vector stores)
SELECT (SELECT coalesce(sum(bytes), 0) FROM files WHERE project_id = $1 AND blob IS NOT NULL)::bigint
    + (
        SELECT coalesce(sum(bytes), 0) FROM upload_parts
        WHERE upload_id IN (SELECT upload_id FROM uploads WHERE project_id = $1 AND status = 'pending')
    )::bigint
    + (SELECT coalesce(sum(usage_bytes), 0) FROM vector_stores WHERE project_id = $1 AND NOT deleted)::bigint;

-- name: blob_key
SELECT blob FROM files WHERE file_id = $1;

-- name: unowned_blobs (a declared fan-out, of the sweep)
SELECT key FROM unnest($1::text[]) AS found (key)
WHERE NOT EXISTS (SELECT FROM files WHERE blob = key)
  AND NOT EXISTS (SELECT FROM upload_parts WHERE part_id = key);
