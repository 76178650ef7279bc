-- name: insert
INSERT INTO assistants (assistant_id, project_id, created_at, body) VALUES ($1, $2, $3, $4);

-- name: lock
SELECT body FROM assistants WHERE assistant_id = $1 FOR UPDATE;

-- name: replace
UPDATE assistants SET body = $2 WHERE assistant_id = $1;

-- name: delete
UPDATE assistants SET deleted = true, body = '{}' WHERE assistant_id = $1;

-- name: get
SELECT body FROM assistants WHERE assistant_id = $1 AND project_id = $2 AND NOT deleted;

-- name: list_position
SELECT created_at, assistant_id AS id FROM assistants WHERE assistant_id = $1 AND project_id = $2;

-- name: list_asc
SELECT body FROM assistants
WHERE project_id = $1 AND NOT deleted
  AND (created_at, assistant_id) > ($2, $3) AND (created_at, assistant_id) < ($4, $5)
ORDER BY created_at, assistant_id
LIMIT $6;

-- name: list_desc
SELECT body FROM assistants
WHERE project_id = $1 AND NOT deleted
  AND (created_at, assistant_id) > ($2, $3) AND (created_at, assistant_id) < ($4, $5)
ORDER BY created_at DESC, assistant_id DESC
LIMIT $6;
