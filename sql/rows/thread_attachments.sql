-- name: insert
INSERT INTO thread_attachments (thread_id, position, file_ids)
SELECT $1, position, file_ids FROM unnest($2::bigint[], $3::bytea[]) AS new (position, file_ids)
WHERE EXISTS (SELECT FROM head)

-- name: delete_all
DELETE FROM thread_attachments WHERE thread_id = $1 AND EXISTS (SELECT FROM head)
