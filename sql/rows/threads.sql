-- name: insert
INSERT INTO threads (thread_id, project_id, created_at, body, has_own_store)
SELECT $1::text, $2, $3, $4, $5
WHERE $1 IS NOT NULL AND EXISTS (SELECT FROM head)

-- name: modify
-- The first patch is that of the metadata, the second that of the tool resources; null leaves a patch unchanged. A store
-- that the thread got before its tool resources were replaced no longer counts.
UPDATE threads SET
    patches = ARRAY [COALESCE($2, patches[1]), COALESCE($3, patches[2])],
    has_own_store = has_own_store AND $3 IS NULL
WHERE thread_id = $1 AND EXISTS (SELECT FROM head)

-- name: add_own_store
UPDATE threads SET has_own_store = true
WHERE thread_id = $1 AND EXISTS (SELECT FROM head)

-- name: delete
DELETE FROM threads WHERE thread_id = $1 AND EXISTS (SELECT FROM head)
