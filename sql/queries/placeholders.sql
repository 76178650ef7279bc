-- name: call
-- The first model call of the thread that created this id. Ids cannot be guessed, so the client has received it.
SELECT version FROM events
WHERE stream_id = $1 AND type = 'model_call.started' AND position(convert_to($2, 'UTF8') IN content) > 0
    AND NOT EXISTS (SELECT FROM messages WHERE thread_id = $1 AND message_id = $2)
ORDER BY version
LIMIT 1;
