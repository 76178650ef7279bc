-- name: get
SELECT threads.thread_id, body, patches, has_own_store,
    ARRAY(
        SELECT file_ids FROM (
            SELECT position, file_ids FROM thread_attachments AS attached
            WHERE attached.thread_id = threads.thread_id
            ORDER BY position DESC
            LIMIT 1000
        ) AS newest
        ORDER BY position
    ) AS attached
FROM threads WHERE thread_id = $1 AND project_id = $2;

-- name: list_position
-- A deleted thread has no row; its first event holds its time.
SELECT at AS created_at, stream_id AS id FROM events
WHERE stream_id = $1 AND version = 1 AND type = 'thread.created' AND project_id = $2;

-- name: list_asc
SELECT threads.thread_id, body, patches, has_own_store,
    ARRAY(
        SELECT file_ids FROM (
            SELECT position, file_ids FROM thread_attachments AS attached
            WHERE attached.thread_id = threads.thread_id
            ORDER BY position DESC
            LIMIT 1000
        ) AS newest
        ORDER BY position
    ) AS attached
FROM threads
WHERE project_id = $1 AND (created_at, thread_id) > ($2, $3) AND (created_at, thread_id) < ($4, $5)
ORDER BY created_at, thread_id
LIMIT $6;

-- name: list_desc
SELECT threads.thread_id, body, patches, has_own_store,
    ARRAY(
        SELECT file_ids FROM (
            SELECT position, file_ids FROM thread_attachments AS attached
            WHERE attached.thread_id = threads.thread_id
            ORDER BY position DESC
            LIMIT 1000
        ) AS newest
        ORDER BY position
    ) AS attached
FROM threads
WHERE project_id = $1 AND (created_at, thread_id) > ($2, $3) AND (created_at, thread_id) < ($4, $5)
ORDER BY created_at DESC, thread_id DESC
LIMIT $6;
