-- Threads with the files that messages attached last (events.object_changes.MAX_THREAD_FILES), in their order.
CREATE VIEW threads_with_attachments AS
SELECT thread_id, project_id, created_at, body, patches, has_own_store,
    ARRAY(
        SELECT file_ids FROM (
            SELECT position, file_ids FROM thread_attachments
            WHERE thread_attachments.thread_id = threads.thread_id
            ORDER BY position DESC
            LIMIT 1000
        ) AS newest
        ORDER BY position
    ) AS attached
FROM threads;
