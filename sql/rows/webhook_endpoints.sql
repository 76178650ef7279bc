-- name: insert
INSERT INTO webhook_endpoints (endpoint_id, project_id, created_at, enabled, types, body)
SELECT $1, $2, $3, true, $4, $5
WHERE EXISTS (SELECT FROM head)

-- name: modify
-- Each field has a place in the patches. A parameter of null leaves its column, or the patch at its place, unchanged.
UPDATE webhook_endpoints SET
    enabled = COALESCE($2, enabled),
    types = COALESCE($3, types),
    patches = ARRAY(
        SELECT COALESCE(new, old)
        FROM unnest(patches, $4::bytea[]) WITH ORDINALITY AS field (old, new, place)
        ORDER BY place
    )
WHERE endpoint_id = $1 AND EXISTS (SELECT FROM head)

-- name: delete
DELETE FROM webhook_endpoints WHERE endpoint_id = $1 AND EXISTS (SELECT FROM head)
