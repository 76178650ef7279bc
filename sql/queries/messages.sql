-- name: get
-- sealed: messages($1, $2): body, patches
SELECT body, patches FROM messages WHERE thread_id = $1 AND message_id = $2 AND project_id = $3 AND NOT deleted;

-- name: list_position
SELECT position FROM messages WHERE thread_id = $1 AND message_id = $2 AND project_id = $3;

-- name: list_asc
-- Rows after the first $7 bytes have no body.
-- sealed: messages($1, message_id): body, patches
SELECT message_id, CASE WHEN bytes_before < $7 THEN body END AS body, CASE WHEN bytes_before < $7 THEN patches END AS patches
FROM (
    SELECT message_id, body, patches, row_number() OVER page AS number, sum(bytes) OVER page - bytes AS bytes_before
    FROM (
        SELECT position, message_id, body, patches,
            octet_length(body) + COALESCE((SELECT sum(octet_length(patch)) FROM unnest(patches) AS patch), 0) AS bytes
        FROM messages
        WHERE thread_id = $1 AND project_id = $2 AND NOT deleted
          AND ($3::text IS NULL OR run_id = $3)
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
-- sealed: messages($1, message_id): body, patches
SELECT message_id, CASE WHEN bytes_before < $7 THEN body END AS body, CASE WHEN bytes_before < $7 THEN patches END AS patches
FROM (
    SELECT message_id, body, patches, row_number() OVER page AS number, sum(bytes) OVER page - bytes AS bytes_before
    FROM (
        SELECT position, message_id, body, patches,
            octet_length(body) + COALESCE((SELECT sum(octet_length(patch)) FROM unnest(patches) AS patch), 0) AS bytes
        FROM messages
        WHERE thread_id = $1 AND project_id = $2 AND NOT deleted
          AND ($3::text IS NULL OR run_id = $3)
          AND ($4::bigint IS NULL OR position > $4)
          AND ($5::bigint IS NULL OR position < $5)
        ORDER BY position DESC
        LIMIT $6
    ) AS sized
    WINDOW page AS (ORDER BY position DESC ROWS UNBOUNDED PRECEDING)
) AS listed
ORDER BY number;

-- name: newest
-- Rows after the first $6 bytes have no body.
-- sealed: messages($1, message_id): body, patches
SELECT place, position, message_id,
    CASE WHEN bytes_before < $6 THEN body END AS body, CASE WHEN bytes_before < $6 THEN patches END AS patches
FROM (
    SELECT place, position, message_id, body, patches, sum(bytes) OVER page - bytes AS bytes_before
    FROM (
        SELECT COALESCE(place, position) AS place, position, message_id, body, patches,
            octet_length(body) + COALESCE((SELECT sum(octet_length(patch)) FROM unnest(patches) AS patch), 0) AS bytes
        FROM messages
        WHERE thread_id = $1 AND NOT deleted
          AND COALESCE(place, position) <= (SELECT runs.position FROM runs WHERE thread_id = $1 AND run_id = $2)
          AND ($3::bigint IS NULL OR (COALESCE(place, position), position) < ($3, $4::bigint))
        ORDER BY COALESCE(place, position) DESC, position DESC
        LIMIT $5
    ) AS sized
    WINDOW page AS (ORDER BY place DESC, position DESC ROWS UNBOUNDED PRECEDING)
) AS listed
ORDER BY place DESC, position DESC;

-- name: first
-- sealed: messages($1, message_id): body, patches
SELECT COALESCE(place, position) AS place, position, message_id, body, patches FROM messages
WHERE thread_id = $1 AND NOT deleted
ORDER BY COALESCE(place, position), position
LIMIT 1;
