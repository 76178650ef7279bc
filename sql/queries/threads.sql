-- name: get
-- sealed: threads(thread_id): body, patches
SELECT thread_id, body, patches, has_own_store, attached FROM threads_with_attachments
WHERE thread_id = $1 AND project_id = $2;

-- name: erased_position (of an erased thread: the time of its first event)
SELECT events.at AS created_at FROM events JOIN erasures USING (stream_id)
WHERE stream_id = $1 AND events.project_id = $2 AND events.version = 1 AND erased_version > 0;

-- name: list_position
SELECT created_at, thread_id AS id FROM threads WHERE thread_id = $1 AND project_id = $2;

-- name: list_asc
-- sealed: threads(thread_id): body, patches
SELECT thread_id, body, patches, has_own_store, attached FROM threads_with_attachments
WHERE project_id = $1 AND (created_at, thread_id) > ($2, $3) AND (created_at, thread_id) < ($4, $5)
ORDER BY created_at, thread_id
LIMIT $6;

-- name: list_desc
-- sealed: threads(thread_id): body, patches
SELECT thread_id, body, patches, has_own_store, attached FROM threads_with_attachments
WHERE project_id = $1 AND (created_at, thread_id) > ($2, $3) AND (created_at, thread_id) < ($4, $5)
ORDER BY created_at DESC, thread_id DESC
LIMIT $6;
