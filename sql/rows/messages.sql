-- name: insert
INSERT INTO messages (thread_id, message_id, project_id, position, run_id, place, body)
SELECT $1, message_id, $2, position, run_id, place, body
FROM unnest($3::text[], $4::bigint[], $5::text[], $6::bigint[], $7::bytea[])
    AS new (message_id, position, run_id, place, body)
WHERE EXISTS (SELECT FROM head)

-- name: modify
-- The only patch is that of the metadata.
UPDATE messages SET patches = ARRAY [$3::bytea]
WHERE thread_id = $1 AND message_id = $2 AND EXISTS (SELECT FROM head)

-- name: delete
UPDATE messages SET deleted = true, body = '{}', patches = '{}'
WHERE thread_id = $1 AND message_id = $2 AND EXISTS (SELECT FROM head)

-- name: delete_all
DELETE FROM messages WHERE thread_id = $1 AND EXISTS (SELECT FROM head)
