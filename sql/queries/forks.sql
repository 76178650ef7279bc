-- name: last_import
-- The last event of a thread that imported an object; null if there is none.
SELECT max(version) FROM events
WHERE stream_id = $1 AND type = ANY (ARRAY ['message.imported', 'run.imported', 'step.imported']);
