-- name: active_since
SELECT min(position) FROM active_runs WHERE thread_id = $1 AND project_id = $2;

-- name: find_overdue (a declared fan-out, of the supervisor)
SELECT thread_id, run_id, project_id, process FROM active_runs
WHERE expires_at <= $1
ORDER BY expires_at
LIMIT $2;

-- name: next_expiry
SELECT min(expires_at) FROM active_runs;

-- name: count_active (a declared fan-out, of the metrics)
SELECT status, count(*) FROM active_runs GROUP BY status;

-- name: find_held (a declared fan-out, of the supervisor)
SELECT thread_id, run_id, project_id, process FROM active_runs
WHERE status <> 'requires_action' AND process = $1 AND NOT run_id = ANY ($2::text[])
ORDER BY expires_at
LIMIT $3;

-- name: find_unowned (a declared fan-out, of the supervisor)
SELECT thread_id, run_id, project_id, process FROM active_runs
WHERE status <> 'requires_action' AND (process IS NULL OR NOT process = ANY ($1::integer[]))
  AND expires_at IS NOT NULL
ORDER BY expires_at
LIMIT $2;

-- name: count_of_project (a declared fan-out over the runs that are active now)
SELECT count(*) FROM active_runs
WHERE project_id = $1 AND status = ANY ($2::text[]) AND ($3::text[] IS NULL OR thread_id = ANY ($3));

-- name: find_of_project (a declared fan-out over the runs that are active now)
SELECT thread_id, run_id FROM active_runs
WHERE project_id = $1 AND status = ANY ($2::text[]) AND ($3::text[] IS NULL OR thread_id = ANY ($3))
ORDER BY thread_id, position
LIMIT $4;
