-- name: find
SELECT project_id AS id, name, created_at FROM projects WHERE project_id = $1 OR name = $1
ORDER BY project_id
LIMIT 2;

-- name: lock_names (against other changes of names, until the end of the transaction)
SELECT pg_advisory_xact_lock($1);

-- name: get
SELECT project_id AS id, name, created_at FROM projects WHERE project_id = $1;

-- name: list
SELECT project_id AS id, name, created_at FROM projects
WHERE (created_at, project_id) > ($1, $2)
ORDER BY created_at, project_id
LIMIT $3;
