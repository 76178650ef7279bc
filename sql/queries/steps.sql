-- name: insert
INSERT INTO steps (thread_id, step_id, project_id, position, run_id, body, progress)
SELECT $1, step_id, $2, position, run_id, body::json, progress::jsonb
FROM unnest($3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[])
    AS new (step_id, position, run_id, body, progress);

-- name: patch
-- Results of hosted calls arrive one by one, and are merged into the earlier ones.
UPDATE steps
SET progress = progress || $3::jsonb || CASE
    WHEN progress ? 'results' AND $3::jsonb ? 'results'
        THEN jsonb_build_object('results', (progress -> 'results') || ($3::jsonb -> 'results'))
    ELSE '{}'
END
WHERE thread_id = $1 AND step_id = $2;

-- name: delete_all
DELETE FROM steps WHERE thread_id = $1;

-- name: get
SELECT body, progress FROM steps WHERE thread_id = $1 AND run_id = $2 AND step_id = $3 AND project_id = $4;

-- name: list_position
SELECT position FROM steps WHERE thread_id = $1 AND step_id = $2 AND project_id = $3;

-- name: list_asc
-- Rows after the first $7 bytes have no body.
SELECT CASE WHEN bytes_before < $7 THEN body END AS body,
    CASE WHEN bytes_before < $7 THEN progress END AS progress
FROM (
    SELECT body, progress, row_number() OVER page AS number,
        sum(octet_length(body::text) + octet_length(progress::text)) OVER page
            - octet_length(body::text) - octet_length(progress::text) AS bytes_before
    FROM steps
    WHERE thread_id = $1 AND run_id = $2 AND project_id = $3
      AND ($4::bigint IS NULL OR position > $4)
      AND ($5::bigint IS NULL OR position < $5)
    WINDOW page AS (ORDER BY position ROWS UNBOUNDED PRECEDING)
    ORDER BY position
    LIMIT $6
) AS listed
ORDER BY number;

-- name: list_desc
-- Rows after the first $7 bytes have no body.
SELECT CASE WHEN bytes_before < $7 THEN body END AS body,
    CASE WHEN bytes_before < $7 THEN progress END AS progress
FROM (
    SELECT body, progress, row_number() OVER page AS number,
        sum(octet_length(body::text) + octet_length(progress::text)) OVER page
            - octet_length(body::text) - octet_length(progress::text) AS bytes_before
    FROM steps
    WHERE thread_id = $1 AND run_id = $2 AND project_id = $3
      AND ($4::bigint IS NULL OR position > $4)
      AND ($5::bigint IS NULL OR position < $5)
    WINDOW page AS (ORDER BY position DESC ROWS UNBOUNDED PRECEDING)
    ORDER BY position DESC
    LIMIT $6
) AS listed
ORDER BY number;

-- name: tool_call_steps
SELECT runs.position AS place, steps.position, steps.body, steps.progress
FROM steps JOIN runs USING (thread_id, run_id)
WHERE thread_id = $1 AND steps.position >= $2 AND ($3::bigint IS NULL OR steps.position < $3)
    AND steps.body ->> 'type' = 'tool_calls'
ORDER BY steps.position DESC
LIMIT $4;

-- name: code_results
SELECT steps.position, call ->> 'id' AS call_id, progress #> ARRAY ['results', call ->> 'id', 'files'] AS files
FROM steps CROSS JOIN LATERAL json_array_elements(body -> 'tool_calls') WITH ORDINALITY AS asked (call, place)
WHERE thread_id = $1 AND project_id = $2 AND body ->> 'type' = 'tool_calls'
    AND call ->> 'type' = 'code_interpreter'
    AND progress #> ARRAY ['results', call ->> 'id', 'output'] IS NOT NULL
    AND progress #>> ARRAY ['results', call ->> 'id', 'outcome'] IS DISTINCT FROM 'refused'
ORDER BY steps.position DESC, place DESC
LIMIT $3;
