-- name: insert
-- A repeated request that creates a file may find it deleted; then it creates it again.
INSERT INTO files (file_id, project_id, created_at, purpose, expires_at, blob, bytes, body)
SELECT $1, $2, $3, $4, $5, $6, $7, $8
WHERE EXISTS (SELECT FROM head)
ON CONFLICT (file_id) DO UPDATE
SET created_at = excluded.created_at, purpose = excluded.purpose, expires_at = excluded.expires_at,
    blob = excluded.blob, bytes = excluded.bytes, body = excluded.body

-- name: delete
UPDATE files SET blob = NULL, bytes = 0, body = '{}'
WHERE file_id = $1 AND EXISTS (SELECT FROM head)
