-- name: insert
INSERT INTO projects (project_id, created_at, name) SELECT $1, $2, $3
WHERE EXISTS (SELECT FROM head)

-- name: rename
UPDATE projects SET name = $2 WHERE project_id = $1 AND EXISTS (SELECT FROM head)
