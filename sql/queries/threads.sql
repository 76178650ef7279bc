-- name: insert
INSERT INTO threads (thread_id, project_id, created_at, body) VALUES ($1, $2, $3, $4);

-- name: lock
SELECT body FROM threads WHERE thread_id = $1 FOR UPDATE;

-- name: replace
UPDATE threads SET body = $2 WHERE thread_id = $1;

-- name: delete
DELETE FROM threads WHERE thread_id = $1;

-- name: get
SELECT body FROM threads WHERE thread_id = $1 AND project_id = $2;
