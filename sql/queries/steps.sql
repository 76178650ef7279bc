-- name: get
-- sealed: steps($1, $3): body, patches
SELECT body, patches FROM steps WHERE thread_id = $1 AND run_id = $2 AND step_id = $3 AND project_id = $4;

-- name: list_position
SELECT position FROM steps WHERE thread_id = $1 AND step_id = $2 AND project_id = $3;

-- name: list_asc
-- Rows after the first $7 bytes have no body.
-- sealed: steps($1, step_id): body, patches
SELECT step_id, CASE WHEN bytes_before < $7 THEN body END AS body, CASE WHEN bytes_before < $7 THEN patches END AS patches
FROM (
    SELECT step_id, body, patches, row_number() OVER page AS number, sum(bytes) OVER page - bytes AS bytes_before
    FROM (
        SELECT position, step_id, body, patches,
            octet_length(body) + COALESCE((SELECT sum(octet_length(patch)) FROM unnest(patches) AS patch), 0) AS bytes
        FROM steps
        WHERE thread_id = $1 AND run_id = $2 AND project_id = $3
          AND ($4::bigint IS NULL OR position > $4)
          AND ($5::bigint IS NULL OR position < $5)
        ORDER BY position
        LIMIT $6
    ) AS sized
    WINDOW page AS (ORDER BY position ROWS UNBOUNDED PRECEDING)
) AS listed
ORDER BY number;

-- name: list_desc
-- Rows after the first $7 bytes have no body.
-- sealed: steps($1, step_id): body, patches
SELECT step_id, CASE WHEN bytes_before < $7 THEN body END AS body, CASE WHEN bytes_before < $7 THEN patches END AS patches
FROM (
    SELECT step_id, body, patches, row_number() OVER page AS number, sum(bytes) OVER page - bytes AS bytes_before
    FROM (
        SELECT position, step_id, body, patches,
            octet_length(body) + COALESCE((SELECT sum(octet_length(patch)) FROM unnest(patches) AS patch), 0) AS bytes
        FROM steps
        WHERE thread_id = $1 AND run_id = $2 AND project_id = $3
          AND ($4::bigint IS NULL OR position > $4)
          AND ($5::bigint IS NULL OR position < $5)
        ORDER BY position DESC
        LIMIT $6
    ) AS sized
    WINDOW page AS (ORDER BY position DESC ROWS UNBOUNDED PRECEDING)
) AS listed
ORDER BY number;

-- name: tool_call_steps
-- Rows after the first $5 bytes have no body.
-- sealed: steps($1, step_id): body, patches
SELECT place, position, step_id,
    CASE WHEN bytes_before < $5 THEN body END AS body, CASE WHEN bytes_before < $5 THEN patches END AS patches
FROM (
    SELECT place, position, step_id, body, patches, sum(bytes) OVER page - bytes AS bytes_before
    FROM (
        SELECT runs.position AS place, steps.position, step_id, steps.body, steps.patches,
            octet_length(steps.body)
                + COALESCE((SELECT sum(octet_length(patch)) FROM unnest(steps.patches) AS patch), 0) AS bytes
        FROM steps JOIN runs USING (thread_id, run_id)
        WHERE thread_id = $1 AND steps.position >= $2 AND ($3::bigint IS NULL OR steps.position < $3)
          AND steps.kind = 'tool_calls'
        ORDER BY steps.position DESC
        LIMIT $4
    ) AS sized
    WINDOW page AS (ORDER BY position DESC ROWS UNBOUNDED PRECEDING)
) AS listed
ORDER BY position DESC;

-- name: tool_steps_before
-- Rows after the first $5 bytes have no body.
-- sealed: steps($1, step_id): body, patches
SELECT position, step_id,
    CASE WHEN bytes_before < $5 THEN body END AS body, CASE WHEN bytes_before < $5 THEN patches END AS patches
FROM (
    SELECT position, step_id, body, patches, sum(bytes) OVER page - bytes AS bytes_before
    FROM (
        SELECT position, step_id, body, patches,
            octet_length(body) + COALESCE((SELECT sum(octet_length(patch)) FROM unnest(patches) AS patch), 0) AS bytes
        FROM steps
        WHERE thread_id = $1 AND project_id = $2 AND kind = 'tool_calls' AND ($3::bigint IS NULL OR position < $3)
        ORDER BY position DESC
        LIMIT $4
    ) AS sized
    WINDOW page AS (ORDER BY position DESC ROWS UNBOUNDED PRECEDING)
) AS listed
ORDER BY position DESC;
