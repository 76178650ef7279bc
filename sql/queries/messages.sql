-- name: insert
-- A message that a run wrote stands in prompts at the position of its run.
INSERT INTO messages (thread_id, message_id, project_id, position, run_id, place, body)
SELECT $1, message_id, $2, position, run_id,
    (SELECT runs.position FROM runs WHERE thread_id = $1 AND runs.run_id = new.run_id),
    body::json
FROM unnest($3::text[], $4::bigint[], $5::text[], $6::text[]) AS new (message_id, position, run_id, body);

-- name: lock
SELECT body FROM messages WHERE thread_id = $1 AND message_id = $2 FOR UPDATE;

-- name: replace
UPDATE messages SET body = $3 WHERE thread_id = $1 AND message_id = $2;

-- name: delete
UPDATE messages SET deleted = true, body = '{}' WHERE thread_id = $1 AND message_id = $2;

-- name: delete_all
DELETE FROM messages WHERE thread_id = $1;

-- name: get
SELECT body FROM messages WHERE thread_id = $1 AND message_id = $2 AND project_id = $3 AND NOT deleted;

-- name: list_position
SELECT position FROM messages WHERE thread_id = $1 AND message_id = $2 AND project_id = $3;

-- name: list_asc
-- Rows after the first $7 bytes have no body.
SELECT CASE WHEN bytes_before < $7 THEN body END AS body
FROM (
    SELECT body, row_number() OVER page AS number,
        sum(octet_length(body::text)) OVER page - octet_length(body::text) AS bytes_before
    FROM messages
    WHERE thread_id = $1 AND project_id = $2 AND NOT deleted
      AND ($3::text IS NULL OR run_id = $3)
      AND ($4::bigint IS NULL OR position > $4)
      AND ($5::bigint IS NULL OR position < $5)
    WINDOW page AS (ORDER BY position ROWS UNBOUNDED PRECEDING)
    ORDER BY position
    LIMIT $6
) AS listed
ORDER BY number;

-- name: list_desc
-- Rows after the first $7 bytes have no body.
SELECT CASE WHEN bytes_before < $7 THEN body END AS body
FROM (
    SELECT body, row_number() OVER page AS number,
        sum(octet_length(body::text)) OVER page - octet_length(body::text) AS bytes_before
    FROM messages
    WHERE thread_id = $1 AND project_id = $2 AND NOT deleted
      AND ($3::text IS NULL OR run_id = $3)
      AND ($4::bigint IS NULL OR position > $4)
      AND ($5::bigint IS NULL OR position < $5)
    WINDOW page AS (ORDER BY position DESC ROWS UNBOUNDED PRECEDING)
    ORDER BY position DESC
    LIMIT $6
) AS listed
ORDER BY number;

-- name: newest
SELECT COALESCE(place, position) AS place, position, body FROM messages
WHERE thread_id = $1 AND NOT deleted
  AND COALESCE(place, position) <= (SELECT runs.position FROM runs WHERE thread_id = $1 AND run_id = $2)
  AND ($3::bigint IS NULL OR (COALESCE(place, position), position) < ($3, $4::bigint))
ORDER BY COALESCE(place, position) DESC, position DESC
LIMIT $5;

-- name: first
SELECT COALESCE(place, position) AS place, position, body FROM messages
WHERE thread_id = $1 AND NOT deleted
ORDER BY COALESCE(place, position), position
LIMIT 1;
