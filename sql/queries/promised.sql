-- name: call
-- The first model call of a thread that minted this id. Ids cannot be guessed: who asks for one was shown it.
SELECT version FROM events
WHERE stream_id = $1 AND type = 'model_call.started' AND position(convert_to($2, 'UTF8') IN content) > 0
    AND NOT EXISTS (SELECT FROM messages WHERE thread_id = $1 AND message_id = $2)
ORDER BY version
LIMIT 1;
