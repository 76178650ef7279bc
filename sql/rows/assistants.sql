-- name: insert
-- Replaces the row of a deleted assistant with this id.
INSERT INTO assistants (assistant_id, project_id, created_at, body) SELECT $1, $2, $3, $4
WHERE EXISTS (SELECT FROM head)
ON CONFLICT (assistant_id) DO UPDATE
SET created_at = excluded.created_at, deleted = false, body = excluded.body, patches = '{}'

-- name: modify
-- Each field has a place in the patches. A parameter of null leaves the patch at its place unchanged.
UPDATE assistants SET patches = ARRAY(
    SELECT COALESCE(new, old)
    FROM unnest(patches, $2::bytea[]) WITH ORDINALITY AS field (old, new, place)
    ORDER BY place
)
WHERE assistant_id = $1 AND EXISTS (SELECT FROM head)

-- name: delete
UPDATE assistants SET deleted = true, body = '{}', patches = '{}'
WHERE assistant_id = $1 AND EXISTS (SELECT FROM head)
