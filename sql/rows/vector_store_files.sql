-- name: insert
INSERT INTO vector_store_files (
    store_id, file_id, project_id, position, batch_id, filename, is_large, status, attributes, body
)
SELECT $1, file_id, $2, $3 + place, $4, filename, is_large, 'in_progress', attributes::jsonb, body
FROM unnest($5::text[], $6::text[], $7::boolean[], $8::text[], $9::bytea[])
    WITH ORDINALITY AS new (file_id, filename, is_large, attributes, body, place)
WHERE EXISTS (SELECT FROM head)
ON CONFLICT (store_id, file_id) DO UPDATE SET
    position = excluded.position, batch_id = excluded.batch_id, filename = excluded.filename,
    is_large = excluded.is_large, status = 'in_progress', job = NULL, process = NULL, attempt = 0, deadline = NULL, usage_bytes = 0, attributes = excluded.attributes,
    body = excluded.body, last_error = NULL

-- name: start
UPDATE vector_store_files SET job = $3, attempt = $4, process = $5, deadline = $6
WHERE store_id = $1 AND file_id = $2 AND EXISTS (SELECT FROM head)

-- name: release_any
UPDATE vector_store_files SET attempt = attempt - 1, process = NULL, deadline = NULL
WHERE store_id = $1 AND file_id = $2 AND job = $3 AND EXISTS (SELECT FROM head)

-- name: finish
UPDATE vector_store_files SET status = 'completed', process = NULL, deadline = NULL, usage_bytes = $3
WHERE store_id = $1 AND file_id = $2 AND EXISTS (SELECT FROM head)

-- name: fail
UPDATE vector_store_files SET status = 'failed', job = NULL, process = NULL, deadline = NULL, last_error = $3
WHERE store_id = $1 AND file_id = $2 AND EXISTS (SELECT FROM head)

-- name: cancel_any
UPDATE vector_store_files SET status = 'cancelled', job = NULL, process = NULL, deadline = NULL
WHERE store_id = $1 AND batch_id = $2 AND status = 'in_progress' AND EXISTS (SELECT FROM head)

-- name: replace_attributes
UPDATE vector_store_files SET attributes = $3
WHERE store_id = $1 AND file_id = $2 AND EXISTS (SELECT FROM head)

-- name: remove
UPDATE vector_store_files SET
    status = 'removed', batch_id = NULL, job = NULL, process = NULL, deadline = NULL, usage_bytes = 0,
    filename = '', attributes = '{}', body = '{}', last_error = NULL
WHERE store_id = $1 AND file_id = $2 AND EXISTS (SELECT FROM head)

-- name: expire_any
UPDATE vector_store_files SET
    status = CASE status WHEN 'in_progress' THEN 'cancelled' ELSE status END,
    job = NULL, process = NULL, deadline = NULL, usage_bytes = 0
WHERE store_id = $1 AND status <> 'removed' AND EXISTS (SELECT FROM head)

-- name: delete_all
DELETE FROM vector_store_files WHERE store_id = $1 AND EXISTS (SELECT FROM head)
