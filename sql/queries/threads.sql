-- name: get
SELECT thread_id, body, patches, has_own_store, attached FROM threads_with_attachments
WHERE thread_id = $1 AND project_id = $2;

-- name: list_position
-- A deleted thread has no row; its first event holds its time.
SELECT at AS created_at, stream_id AS id FROM events
WHERE stream_id = $1 AND version = 1 AND type = 'thread.created' AND project_id = $2;

-- name: list_asc
SELECT thread_id, body, patches, has_own_store, attached FROM threads_with_attachments
WHERE project_id = $1 AND (created_at, thread_id) > ($2, $3) AND (created_at, thread_id) < ($4, $5)
ORDER BY created_at, thread_id
LIMIT $6;

-- name: list_desc
SELECT thread_id, body, patches, has_own_store, attached FROM threads_with_attachments
WHERE project_id = $1 AND (created_at, thread_id) > ($2, $3) AND (created_at, thread_id) < ($4, $5)
ORDER BY created_at DESC, thread_id DESC
LIMIT $6;
