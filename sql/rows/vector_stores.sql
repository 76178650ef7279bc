-- name: insert
-- Replaces the row of a deleted vector store with this id.
INSERT INTO vector_stores
    (store_id, project_id, created_at, last_active_at, expires_after, expires_at, embedding_model, body)
SELECT $1, $2, $3, $4::bigint, $5::integer, $4 + $5 * 86400, $6, $7
WHERE EXISTS (SELECT FROM head)
ON CONFLICT (store_id) DO UPDATE SET
    created_at = excluded.created_at, deleted = false, last_active_at = excluded.last_active_at,
    expires_after = excluded.expires_after, expires_at = excluded.expires_at, expired = false,
    embedding_model = excluded.embedding_model, body = excluded.body, patches = '{}'

-- name: modify
-- Each field has a place in the patches; null leaves the patch at its place unchanged. $3 says if expires_after
-- changes.
UPDATE vector_stores SET
    patches = ARRAY(
        SELECT COALESCE(new, old)
        FROM unnest(patches, $2::bytea[]) WITH ORDINALITY AS field (old, new, place)
        ORDER BY place
    ),
    expires_after = CASE WHEN $3 THEN $4 ELSE expires_after END,
    expires_at = CASE WHEN NOT expired THEN last_active_at + 86400 * CASE WHEN $3 THEN $4 ELSE expires_after END END
WHERE store_id = $1 AND EXISTS (SELECT FROM head)

-- name: use
UPDATE vector_stores SET
    last_active_at = $2::bigint, expires_at = CASE WHEN NOT expired THEN $2 + 86400 * expires_after END
WHERE store_id = $1 AND EXISTS (SELECT FROM head)

-- name: move_to_model
UPDATE vector_stores SET embedding_model = $2 WHERE store_id = $1 AND EXISTS (SELECT FROM head)

-- name: count
UPDATE vector_stores SET
    in_progress = in_progress + $2, completed = completed + $3, failed = failed + $4, cancelled = cancelled + $5,
    usage_bytes = usage_bytes + $6
WHERE store_id = $1 AND EXISTS (SELECT FROM head)

-- name: expire
UPDATE vector_stores SET
    cancelled = cancelled + in_progress, in_progress = 0, usage_bytes = 0, expires_at = NULL, expired = true
WHERE store_id = $1 AND EXISTS (SELECT FROM head)

-- name: delete
UPDATE vector_stores SET
    deleted = true, expires_after = NULL, expires_at = NULL, in_progress = 0, completed = 0, failed = 0, cancelled = 0,
    usage_bytes = 0, body = '{}', patches = '{}'
WHERE store_id = $1 AND EXISTS (SELECT FROM head)
