-- name: insert
INSERT INTO steps (thread_id, step_id, project_id, position, run_id, kind, body, patches)
SELECT $1::text, $2, $3, $4, $5, $6, $7, $8
WHERE $1 IS NOT NULL AND EXISTS (SELECT FROM head)

-- name: insert_many
INSERT INTO steps (thread_id, step_id, project_id, position, run_id, kind, body, patches)
SELECT thread_id, step_id, project_id, position, run_id, kind, body,
    ARRAY(
        SELECT patch FROM unnest($8::bytea[], $9::bigint[]) WITH ORDINALITY AS part (patch, owner, place)
        WHERE owner = number ORDER BY place
    )
FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::bytea[])
    WITH ORDINALITY AS new (thread_id, step_id, project_id, position, run_id, kind, body, number)
WHERE EXISTS (SELECT FROM head)

-- name: import
INSERT INTO steps (thread_id, step_id, project_id, position, run_id, kind, body)
SELECT $1, step_id, $2, position, run_id, kind, body
FROM unnest($3::text[], $4::bigint[], $5::text[], $6::text[], $7::bytea[])
    AS new (step_id, position, run_id, kind, body)
WHERE EXISTS (SELECT FROM head)

-- name: patch
UPDATE steps SET patches = patches || $3::bytea[]
WHERE thread_id = $1 AND step_id = $2 AND EXISTS (SELECT FROM head)

-- name: patch_many
UPDATE steps
SET patches = steps.patches || ARRAY(
        SELECT patch FROM unnest($3::bytea[], $4::bigint[]) WITH ORDINALITY AS part (patch, owner, place)
        WHERE owner = number ORDER BY place
    )
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS new (thread_id, step_id, number)
WHERE steps.thread_id = new.thread_id AND steps.step_id = new.step_id AND EXISTS (SELECT FROM head)

-- name: delete_all
DELETE FROM steps WHERE thread_id = $1 AND EXISTS (SELECT FROM head)
