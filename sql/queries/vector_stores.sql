-- name: insert (replaces the row of a deleted vector store with this id)
INSERT INTO vector_stores (store_id, project_id, created_at, expires_at, embedding_model, body)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (store_id) DO UPDATE SET
    created_at = EXCLUDED.created_at, deleted = false, expires_at = EXCLUDED.expires_at,
    embedding_model = EXCLUDED.embedding_model, body = EXCLUDED.body;

-- name: lock
SELECT body, progress FROM vector_stores WHERE store_id = $1 FOR UPDATE;

-- name: change
UPDATE vector_stores SET progress = progress || $2::jsonb, expires_at = $3 WHERE store_id = $1;

-- name: model
UPDATE vector_stores SET embedding_model = $2 WHERE store_id = $1;

-- name: count
UPDATE vector_stores SET
    in_progress = in_progress + $2, completed = completed + $3, failed = failed + $4, cancelled = cancelled + $5,
    usage_bytes = usage_bytes + $6
WHERE store_id = $1;

-- name: expire
WITH no_jobs AS (
    UPDATE vector_store_files SET
        status = CASE status WHEN 'in_progress' THEN 'cancelled' ELSE status END,
        job = NULL, process = NULL, deadline = NULL, usage_bytes = 0
    WHERE store_id = $1 AND status <> 'removed'
), no_batches AS (
    UPDATE vector_store_batches SET cancelled = cancelled + in_progress, in_progress = 0
    WHERE store_id = $1 AND in_progress > 0
)
UPDATE vector_stores SET
    cancelled = cancelled + in_progress, in_progress = 0, usage_bytes = 0, expires_at = NULL,
    progress = progress || '{"expired": true}'
WHERE store_id = $1;

-- name: delete
WITH no_files AS (DELETE FROM vector_store_files WHERE store_id = $1),
     no_batches AS (DELETE FROM vector_store_batches WHERE store_id = $1)
UPDATE vector_stores SET
    deleted = true, expires_at = NULL, in_progress = 0, completed = 0, failed = 0, cancelled = 0, usage_bytes = 0,
    body = '{}', progress = '{}'
WHERE store_id = $1;

-- name: get
SELECT body, progress, embedding_model, in_progress, completed, failed, cancelled, usage_bytes
FROM vector_stores
WHERE store_id = $1 AND project_id = $2 AND NOT deleted;

-- name: find
SELECT body, progress, embedding_model, in_progress, completed, failed, cancelled, usage_bytes
FROM vector_stores
WHERE store_id = ANY ($1::text[]) AND project_id = $2 AND NOT deleted;

-- name: list_position
SELECT created_at, store_id AS id FROM vector_stores WHERE store_id = $1 AND project_id = $2;

-- name: list_asc
SELECT body, progress, embedding_model, in_progress, completed, failed, cancelled, usage_bytes
FROM vector_stores
WHERE project_id = $1 AND NOT deleted
  AND ($2::timestamptz IS NULL OR (created_at, store_id) > ($2, $3))
  AND ($4::timestamptz IS NULL OR (created_at, store_id) < ($4, $5))
ORDER BY created_at, store_id
LIMIT $6;

-- name: list_desc
SELECT body, progress, embedding_model, in_progress, completed, failed, cancelled, usage_bytes
FROM vector_stores
WHERE project_id = $1 AND NOT deleted
  AND ($2::timestamptz IS NULL OR (created_at, store_id) > ($2, $3))
  AND ($4::timestamptz IS NULL OR (created_at, store_id) < ($4, $5))
ORDER BY created_at DESC, store_id DESC
LIMIT $6;

-- name: find_overdue (a declared fan-out, of the sweep)
SELECT store_id AS id, project_id FROM vector_stores
WHERE NOT deleted AND expires_at <= $1
ORDER BY expires_at
LIMIT $2;

-- name: count_files_in_progress (a declared fan-out, of the metrics)
SELECT coalesce(sum(in_progress), 0)::bigint FROM vector_stores WHERE in_progress > 0;
