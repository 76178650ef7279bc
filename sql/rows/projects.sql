-- name: insert
INSERT INTO projects (project_id, created_at, name) SELECT $1, $2, $3
WHERE EXISTS (SELECT FROM head)
