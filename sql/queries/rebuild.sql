-- name: hold
-- Locks the head and moves its fence, so that no append that waited for the head uses facts from before.
UPDATE streams SET fence = fence + 1 WHERE stream_id = $1 RETURNING kind, version;

-- name: drop_assistant
WITH no_metadata AS (DELETE FROM metadata_pairs WHERE stream_id = $1)
DELETE FROM assistants WHERE assistant_id = $1;

-- name: drop_file
DELETE FROM files WHERE file_id = $1;

-- name: drop_upload
WITH no_parts AS (DELETE FROM upload_parts WHERE upload_id = $1)
DELETE FROM uploads WHERE upload_id = $1;

-- name: drop_key
DELETE FROM api_keys WHERE key_id = $1;

-- name: drop_project
DELETE FROM projects WHERE project_id = $1;

-- name: drop_thread
WITH no_messages AS (DELETE FROM messages WHERE thread_id = $1),
     no_runs AS (DELETE FROM runs WHERE thread_id = $1),
     no_active_runs AS (DELETE FROM active_runs WHERE thread_id = $1),
     no_steps AS (DELETE FROM steps WHERE thread_id = $1),
     no_attachments AS (DELETE FROM thread_attachments WHERE thread_id = $1),
     no_metadata AS (DELETE FROM metadata_pairs WHERE stream_id = $1)
DELETE FROM threads WHERE thread_id = $1;

-- name: drop_vector_store
WITH no_files AS (DELETE FROM vector_store_files WHERE store_id = $1),
     no_batches AS (DELETE FROM vector_store_batches WHERE store_id = $1)
DELETE FROM vector_stores WHERE store_id = $1;

-- name: drop_webhook_endpoint
DELETE FROM webhook_endpoints WHERE endpoint_id = $1;

-- name: rows_assistant
SELECT 'assistants' AS view, assistant_id AS id, to_json(assistants)::text AS content
FROM assistants WHERE assistant_id = $1
UNION ALL
SELECT 'metadata_pairs', encode(pair, 'hex'), to_json(metadata_pairs)::text FROM metadata_pairs WHERE stream_id = $1;

-- name: rows_file
SELECT 'files' AS view, file_id AS id, to_json(files)::text AS content FROM files WHERE file_id = $1;

-- name: rows_upload
SELECT 'uploads' AS view, upload_id AS id, to_json(uploads)::text AS content FROM uploads WHERE upload_id = $1
UNION ALL
SELECT 'upload_parts', part_id, to_json(upload_parts)::text FROM upload_parts WHERE upload_id = $1;

-- name: rows_key
SELECT 'api_keys' AS view, key_id AS id, to_json(api_keys)::text AS content FROM api_keys WHERE key_id = $1;

-- name: rows_project
SELECT 'projects' AS view, project_id AS id, to_json(projects)::text AS content FROM projects WHERE project_id = $1;

-- name: rows_thread
SELECT 'threads' AS view, thread_id AS id, to_json(threads)::text AS content FROM threads WHERE thread_id = $1
UNION ALL
SELECT 'thread_attachments', position::text, to_json(thread_attachments)::text
FROM thread_attachments WHERE thread_id = $1
UNION ALL
SELECT 'messages', message_id, to_json(messages)::text FROM messages WHERE thread_id = $1
UNION ALL
SELECT 'runs', run_id, to_json(runs)::text FROM runs WHERE thread_id = $1
UNION ALL
SELECT 'active_runs', run_id, to_json(active_runs)::text FROM active_runs WHERE thread_id = $1
UNION ALL
SELECT 'steps', step_id, to_json(steps)::text FROM steps WHERE thread_id = $1
UNION ALL
SELECT 'metadata_pairs', encode(pair, 'hex'), to_json(metadata_pairs)::text FROM metadata_pairs WHERE stream_id = $1;

-- name: rows_webhook_endpoint
SELECT 'webhook_endpoints' AS view, endpoint_id AS id, to_json(webhook_endpoints)::text AS content
FROM webhook_endpoints WHERE endpoint_id = $1;

-- name: rows_vector_store
SELECT 'vector_stores' AS view, store_id AS id, to_json(vector_stores)::text AS content
FROM vector_stores WHERE store_id = $1
UNION ALL
SELECT 'vector_store_files', file_id, to_json(vector_store_files)::text FROM vector_store_files WHERE store_id = $1
UNION ALL
SELECT 'vector_store_batches', batch_id, to_json(vector_store_batches)::text
FROM vector_store_batches WHERE store_id = $1;

-- name: streams
SELECT stream_id FROM streams WHERE stream_id > $1 ORDER BY stream_id LIMIT $2;
