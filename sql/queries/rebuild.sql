-- name: hold
-- Locks the heads and moves their fences, so that no append that waited for a head uses facts from before. The order of
-- the locks keeps two rebuilds from waiting for each other.
WITH held AS (
    SELECT stream_id FROM streams WHERE stream_id = ANY ($1::text[]) ORDER BY stream_id FOR UPDATE
)
UPDATE streams SET fence = fence + 1 FROM held
WHERE streams.stream_id = held.stream_id
RETURNING streams.stream_id, kind, version, state_schema, state;

-- name: heads
SELECT stream_id, kind, version, state_schema, state FROM streams WHERE stream_id = ANY ($1::text[]);

-- name: replace_state
UPDATE streams SET state = $2 WHERE stream_id = $1;

-- name: events
SELECT stream_id, version, at, content, schema_version, project_id, actor, request_id, cause, client
FROM events
WHERE stream_id = ANY ($1::text[])
ORDER BY stream_id, version;

-- name: streams
SELECT stream_id, version FROM streams WHERE stream_id > $1 ORDER BY stream_id LIMIT $2;

-- name: rows_active_runs
SELECT * FROM active_runs WHERE thread_id = ANY ($1::text[]);

-- name: delete_active_runs
DELETE FROM active_runs WHERE thread_id = ANY ($1::text[]);

-- name: rows_api_keys
SELECT * FROM api_keys WHERE key_id = ANY ($1::text[]);

-- name: delete_api_keys
DELETE FROM api_keys WHERE key_id = ANY ($1::text[]);

-- name: rows_assistants
SELECT * FROM assistants WHERE assistant_id = ANY ($1::text[]);

-- name: delete_assistants
DELETE FROM assistants WHERE assistant_id = ANY ($1::text[]);

-- name: rows_files
SELECT * FROM files WHERE file_id = ANY ($1::text[]);

-- name: delete_files
DELETE FROM files WHERE file_id = ANY ($1::text[]);

-- name: rows_messages
SELECT * FROM messages WHERE thread_id = ANY ($1::text[]);

-- name: delete_messages
DELETE FROM messages WHERE thread_id = ANY ($1::text[]);

-- name: rows_metadata_pairs
SELECT * FROM metadata_pairs WHERE stream_id = ANY ($1::text[]);

-- name: delete_metadata_pairs
DELETE FROM metadata_pairs WHERE stream_id = ANY ($1::text[]);

-- name: rows_projects
SELECT * FROM projects WHERE project_id = ANY ($1::text[]);

-- name: delete_projects
DELETE FROM projects WHERE project_id = ANY ($1::text[]);

-- name: rows_runs
SELECT * FROM runs WHERE thread_id = ANY ($1::text[]);

-- name: delete_runs
DELETE FROM runs WHERE thread_id = ANY ($1::text[]);

-- name: rows_steps
SELECT * FROM steps WHERE thread_id = ANY ($1::text[]);

-- name: delete_steps
DELETE FROM steps WHERE thread_id = ANY ($1::text[]);

-- name: rows_thread_attachments
SELECT * FROM thread_attachments WHERE thread_id = ANY ($1::text[]);

-- name: delete_thread_attachments
DELETE FROM thread_attachments WHERE thread_id = ANY ($1::text[]);

-- name: rows_threads
SELECT * FROM threads WHERE thread_id = ANY ($1::text[]);

-- name: delete_threads
DELETE FROM threads WHERE thread_id = ANY ($1::text[]);

-- name: rows_upload_parts
SELECT * FROM upload_parts WHERE upload_id = ANY ($1::text[]);

-- name: delete_upload_parts
DELETE FROM upload_parts WHERE upload_id = ANY ($1::text[]);

-- name: rows_uploads
SELECT * FROM uploads WHERE upload_id = ANY ($1::text[]);

-- name: delete_uploads
DELETE FROM uploads WHERE upload_id = ANY ($1::text[]);

-- name: rows_vector_store_batches
SELECT * FROM vector_store_batches WHERE store_id = ANY ($1::text[]);

-- name: delete_vector_store_batches
DELETE FROM vector_store_batches WHERE store_id = ANY ($1::text[]);

-- name: rows_vector_store_files
SELECT * FROM vector_store_files WHERE store_id = ANY ($1::text[]);

-- name: delete_vector_store_files
DELETE FROM vector_store_files WHERE store_id = ANY ($1::text[]);

-- name: rows_vector_stores
SELECT * FROM vector_stores WHERE store_id = ANY ($1::text[]);

-- name: delete_vector_stores
DELETE FROM vector_stores WHERE store_id = ANY ($1::text[]);

-- name: rows_webhook_endpoints
SELECT * FROM webhook_endpoints WHERE endpoint_id = ANY ($1::text[]);

-- name: delete_webhook_endpoints
DELETE FROM webhook_endpoints WHERE endpoint_id = ANY ($1::text[]);
