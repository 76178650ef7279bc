-- name: get
-- sealed: runs($1, $2): body, patches
SELECT body, patches FROM runs WHERE thread_id = $1 AND run_id = $2 AND project_id = $3;

-- name: list_position
SELECT position FROM runs WHERE thread_id = $1 AND run_id = $2 AND project_id = $3;

-- name: list_asc
-- Rows after the first $6 bytes have no body.
-- sealed: runs($1, run_id): body, patches
SELECT run_id, CASE WHEN bytes_before < $6 THEN body END AS body, CASE WHEN bytes_before < $6 THEN patches END AS patches
FROM (
    SELECT run_id, body, patches, row_number() OVER page AS number, sum(bytes) OVER page - bytes AS bytes_before
    FROM (
        SELECT position, run_id, body, patches,
            octet_length(body) + COALESCE((SELECT sum(octet_length(patch)) FROM unnest(patches) AS patch), 0) AS bytes
        FROM runs
        WHERE thread_id = $1 AND project_id = $2
          AND ($3::bigint IS NULL OR position > $3)
          AND ($4::bigint IS NULL OR position < $4)
        ORDER BY position
        LIMIT $5
    ) AS sized
    WINDOW page AS (ORDER BY position ROWS UNBOUNDED PRECEDING)
) AS listed
ORDER BY number;

-- name: list_desc
-- Rows after the first $6 bytes have no body.
-- sealed: runs($1, run_id): body, patches
SELECT run_id, CASE WHEN bytes_before < $6 THEN body END AS body, CASE WHEN bytes_before < $6 THEN patches END AS patches
FROM (
    SELECT run_id, body, patches, row_number() OVER page AS number, sum(bytes) OVER page - bytes AS bytes_before
    FROM (
        SELECT position, run_id, body, patches,
            octet_length(body) + COALESCE((SELECT sum(octet_length(patch)) FROM unnest(patches) AS patch), 0) AS bytes
        FROM runs
        WHERE thread_id = $1 AND project_id = $2
          AND ($3::bigint IS NULL OR position > $3)
          AND ($4::bigint IS NULL OR position < $4)
        ORDER BY position DESC
        LIMIT $5
    ) AS sized
    WINDOW page AS (ORDER BY position DESC ROWS UNBOUNDED PRECEDING)
) AS listed
ORDER BY number;

-- name: promising
-- The run with a model call that may write the message or step $2. A message that was written and deleted has a row.
SELECT run_id, position FROM runs
WHERE thread_id = $1 AND $2 = ANY (promised)
  AND NOT EXISTS (SELECT FROM messages WHERE thread_id = $1 AND message_id = $2)
LIMIT 1;

-- name: created_before
SELECT position FROM runs
WHERE thread_id = $1 AND project_id = $2 AND position <= $3
ORDER BY position DESC
LIMIT $4;

-- name: bodies (of these runs)
-- sealed: runs(thread_id, run_id): body, patches
SELECT thread_id, run_id, body, patches
FROM unnest($1::text[], $2::text[]) AS asked (thread_id, run_id)
JOIN runs USING (thread_id, run_id);
