-- name: insert
INSERT INTO runs (thread_id, run_id, project_id, position, status, expires_at, process, body, progress)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: patch
UPDATE runs
SET progress = progress || $3,
    status = COALESCE($4, status),
    process = CASE WHEN $5 THEN $6 ELSE process END,
    expires_at = COALESCE($7, expires_at)
WHERE thread_id = $1 AND run_id = $2;

-- name: delete_all
DELETE FROM runs WHERE thread_id = $1;

-- name: get
SELECT body, progress FROM runs WHERE thread_id = $1 AND run_id = $2 AND project_id = $3;

-- name: list_position
SELECT position FROM runs WHERE thread_id = $1 AND run_id = $2 AND project_id = $3;

-- name: list_asc
-- Rows after the first $6 bytes have no body.
SELECT CASE WHEN bytes_before < $6 THEN body END AS body,
    CASE WHEN bytes_before < $6 THEN progress END AS progress
FROM (
    SELECT body, progress, row_number() OVER page AS number,
        sum(octet_length(body::text) + octet_length(progress::text)) OVER page
            - octet_length(body::text) - octet_length(progress::text) AS bytes_before
    FROM runs
    WHERE thread_id = $1 AND project_id = $2
      AND ($3::bigint IS NULL OR position > $3)
      AND ($4::bigint IS NULL OR position < $4)
    WINDOW page AS (ORDER BY position ROWS UNBOUNDED PRECEDING)
    ORDER BY position
    LIMIT $5
) AS listed
ORDER BY number;

-- name: list_desc
-- Rows after the first $6 bytes have no body.
SELECT CASE WHEN bytes_before < $6 THEN body END AS body,
    CASE WHEN bytes_before < $6 THEN progress END AS progress
FROM (
    SELECT body, progress, row_number() OVER page AS number,
        sum(octet_length(body::text) + octet_length(progress::text)) OVER page
            - octet_length(body::text) - octet_length(progress::text) AS bytes_before
    FROM runs
    WHERE thread_id = $1 AND project_id = $2
      AND ($3::bigint IS NULL OR position > $3)
      AND ($4::bigint IS NULL OR position < $4)
    WINDOW page AS (ORDER BY position DESC ROWS UNBOUNDED PRECEDING)
    ORDER BY position DESC
    LIMIT $5
) AS listed
ORDER BY number;

-- name: active_since
SELECT min(position) FROM runs
WHERE thread_id = $1 AND project_id = $2
  AND status IN ('queued', 'in_progress', 'requires_action', 'cancelling');

-- name: created_before
SELECT position FROM runs
WHERE thread_id = $1 AND project_id = $2 AND position <= $3
ORDER BY position DESC
LIMIT $4;

-- name: find_overdue (a declared fan-out, of the supervisor)
SELECT thread_id, run_id, project_id, process FROM runs
WHERE status IN ('queued', 'in_progress', 'requires_action', 'cancelling') AND expires_at <= $1
ORDER BY expires_at
LIMIT $2;

-- name: next_expiry
SELECT min(expires_at) FROM runs WHERE status IN ('queued', 'in_progress', 'requires_action', 'cancelling');

-- name: count_active (a declared fan-out, of the metrics)
SELECT status, count(*) FROM runs
WHERE status IN ('queued', 'in_progress', 'requires_action', 'cancelling')
GROUP BY status;

-- name: find_held (a declared fan-out, of the supervisor)
SELECT thread_id, run_id, project_id, process FROM runs
WHERE status IN ('queued', 'in_progress', 'cancelling') AND process = $1 AND NOT run_id = ANY ($2::text[])
ORDER BY expires_at
LIMIT $3;

-- name: find_unowned (a declared fan-out, of the supervisor)
SELECT thread_id, run_id, project_id, process FROM runs
WHERE status IN ('queued', 'in_progress', 'cancelling') AND (process IS NULL OR NOT process = ANY ($1::integer[]))
  AND expires_at IS NOT NULL
ORDER BY expires_at
LIMIT $2;
