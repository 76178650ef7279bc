-- name: insert
INSERT INTO runs (thread_id, run_id, project_id, position, status, expires_at, process, promised, body, patches)
SELECT $1::text, $2, $3, $4, $5, $6, $7, $8, $9, ARRAY [NULL::bytea] || $10::bytea[]
WHERE $1 IS NOT NULL AND EXISTS (SELECT FROM head)

-- name: patch
-- A parameter of null leaves its column unchanged; $5 says if the process changes.
UPDATE runs
SET patches = patches || $3::bytea[],
    status = COALESCE($4, status),
    process = CASE WHEN $5 THEN $6 ELSE process END,
    expires_at = COALESCE($7, expires_at),
    promised = promised || $8::text[]
WHERE thread_id = $1 AND run_id = $2 AND EXISTS (SELECT FROM head)

-- name: patch_many
UPDATE runs
SET patches = runs.patches || new.patches,
    status = COALESCE(new.status, runs.status),
    process = CASE WHEN new.is_moved THEN new.process ELSE runs.process END,
    expires_at = COALESCE(new.expires_at, runs.expires_at),
    promised = runs.promised || new.promised
FROM (
    SELECT thread_id, run_id, status, is_moved, process, expires_at,
        ARRAY(
            SELECT patch FROM unnest($3::bytea[], $4::bigint[]) WITH ORDINALITY AS part (patch, owner, place)
            WHERE owner = number ORDER BY place
        ) AS patches,
        ARRAY(
            SELECT id FROM unnest($9::text[], $10::bigint[]) WITH ORDINALITY AS part (id, owner, place)
            WHERE owner = number ORDER BY place
        ) AS promised
    FROM unnest($1::text[], $2::text[], $5::text[], $6::boolean[], $7::integer[], $8::bigint[])
        WITH ORDINALITY AS listed (thread_id, run_id, status, is_moved, process, expires_at, number)
) AS new
WHERE runs.thread_id = new.thread_id AND runs.run_id = new.run_id AND EXISTS (SELECT FROM head)

-- name: modify
-- The first patch is that of the metadata.
UPDATE runs SET patches[1] = $3
WHERE thread_id = $1 AND run_id = $2 AND EXISTS (SELECT FROM head)

-- name: delete_all
DELETE FROM runs WHERE thread_id = $1 AND EXISTS (SELECT FROM head)
