-- name: insert
INSERT INTO threads (thread_id, project_id, created_at, body, patches)
SELECT $1::text, $2, $3, $4, ARRAY [NULL, NULL]::bytea[] || $5::bytea[]
WHERE $1 IS NOT NULL AND EXISTS (SELECT FROM head)

-- name: modify
-- The first patch is that of the metadata, the second that of the tool resources. Files that were attached before the
-- tool resources were replaced no longer count.
UPDATE threads
SET patches = ARRAY [COALESCE($2, patches[1]), COALESCE($3, patches[2])] || CASE WHEN $3 IS NULL THEN patches[3:] END
WHERE thread_id = $1 AND EXISTS (SELECT FROM head)

-- name: attach
UPDATE threads SET patches = patches || $2::bytea[]
WHERE thread_id = $1 AND EXISTS (SELECT FROM head)

-- name: delete
DELETE FROM threads WHERE thread_id = $1 AND EXISTS (SELECT FROM head)
