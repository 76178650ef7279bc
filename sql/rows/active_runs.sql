-- name: insert
INSERT INTO active_runs (thread_id, run_id, project_id, position, status, expires_at, process)
SELECT $1::text, $2, $3, $4, $5, $6, $7
WHERE $1 IS NOT NULL AND EXISTS (SELECT FROM head)

-- name: change
-- A parameter of null leaves its column unchanged; $4 says if the process changes.
UPDATE active_runs
SET status = COALESCE($3, status),
    process = CASE WHEN $4 THEN $5 ELSE process END,
    expires_at = COALESCE($6, expires_at)
WHERE thread_id = $1 AND run_id = $2 AND EXISTS (SELECT FROM head)

-- name: delete
DELETE FROM active_runs WHERE thread_id = $1 AND run_id = $2 AND EXISTS (SELECT FROM head)

-- name: delete_all
DELETE FROM active_runs WHERE thread_id = $1 AND EXISTS (SELECT FROM head)
