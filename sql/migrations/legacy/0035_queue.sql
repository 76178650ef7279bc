-- A run that waits for others of its thread has no expires_at yet, and no supervisor looks for it.
ALTER TABLE runs ALTER COLUMN expires_at DROP NOT NULL;

-- The order of prompts: what a run wrote stands where the run was created, in front of what clients said while it worked.
-- Null is the message's own position.
ALTER TABLE messages ADD COLUMN place bigint;
UPDATE messages SET place = runs.position FROM runs
WHERE runs.thread_id = messages.thread_id AND runs.run_id = messages.run_id;
CREATE INDEX messages_in_prompts ON messages (thread_id, COALESCE(place, position), position);
