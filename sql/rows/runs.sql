-- name: insert
INSERT INTO runs (thread_id, run_id, project_id, position, promised, body, patches)
SELECT $1::text, $2, $3, $4, $5, $6, ARRAY [NULL::bytea] || $7::bytea[]
WHERE $1 IS NOT NULL AND EXISTS (SELECT FROM head)

-- name: import
INSERT INTO runs (thread_id, run_id, project_id, position, body, patches)
SELECT $1, run_id, $2, position, body, ARRAY [NULL::bytea]
FROM unnest($3::text[], $4::bigint[], $5::bytea[]) AS new (run_id, position, body)
WHERE EXISTS (SELECT FROM head)

-- name: patch
UPDATE runs SET patches = patches || $3::bytea[], promised = promised || $4::text[]
WHERE thread_id = $1 AND run_id = $2 AND EXISTS (SELECT FROM head)

-- name: patch_many
UPDATE runs
SET patches = runs.patches || ARRAY(
        SELECT patch FROM unnest($3::bytea[], $4::bigint[]) WITH ORDINALITY AS part (patch, owner, place)
        WHERE owner = number ORDER BY place
    ),
    promised = runs.promised || ARRAY(
        SELECT id FROM unnest($5::text[], $6::bigint[]) WITH ORDINALITY AS part (id, owner, place)
        WHERE owner = number ORDER BY place
    )
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS new (thread_id, run_id, number)
WHERE runs.thread_id = new.thread_id AND runs.run_id = new.run_id AND EXISTS (SELECT FROM head)

-- name: modify
-- The first patch is that of the metadata.
UPDATE runs SET patches[1] = $3
WHERE thread_id = $1 AND run_id = $2 AND EXISTS (SELECT FROM head)

-- name: delete_all
DELETE FROM runs WHERE thread_id = $1 AND EXISTS (SELECT FROM head)
