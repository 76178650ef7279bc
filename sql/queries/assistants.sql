-- name: get
-- sealed: assistants($1): body, patches
SELECT body, patches FROM assistants WHERE assistant_id = $1 AND project_id = $2 AND NOT deleted;

-- name: list_position
SELECT created_at, assistant_id AS id FROM assistants WHERE assistant_id = $1 AND project_id = $2;

-- name: list_asc
-- Rows after the first $7 bytes have no body.
-- sealed: assistants(assistant_id): body, patches
SELECT assistant_id, CASE WHEN bytes_before < $7 THEN body END AS body, CASE WHEN bytes_before < $7 THEN patches END AS patches
FROM (
    SELECT assistant_id, body, patches, row_number() OVER page AS number, sum(bytes) OVER page - bytes AS bytes_before
    FROM (
        SELECT created_at, assistant_id, body, patches,
            octet_length(body) + COALESCE((SELECT sum(octet_length(patch)) FROM unnest(patches) AS patch), 0) AS bytes
        FROM assistants
        WHERE project_id = $1 AND NOT deleted
          AND (created_at, assistant_id) > ($2, $3) AND (created_at, assistant_id) < ($4, $5)
        ORDER BY created_at, assistant_id
        LIMIT $6
    ) AS sized
    WINDOW page AS (ORDER BY created_at, assistant_id ROWS UNBOUNDED PRECEDING)
) AS listed
ORDER BY number;

-- name: list_desc
-- Rows after the first $7 bytes have no body.
-- sealed: assistants(assistant_id): body, patches
SELECT assistant_id, CASE WHEN bytes_before < $7 THEN body END AS body, CASE WHEN bytes_before < $7 THEN patches END AS patches
FROM (
    SELECT assistant_id, body, patches, row_number() OVER page AS number, sum(bytes) OVER page - bytes AS bytes_before
    FROM (
        SELECT created_at, assistant_id, body, patches,
            octet_length(body) + COALESCE((SELECT sum(octet_length(patch)) FROM unnest(patches) AS patch), 0) AS bytes
        FROM assistants
        WHERE project_id = $1 AND NOT deleted
          AND (created_at, assistant_id) > ($2, $3) AND (created_at, assistant_id) < ($4, $5)
        ORDER BY created_at DESC, assistant_id DESC
        LIMIT $6
    ) AS sized
    WINDOW page AS (ORDER BY created_at DESC, assistant_id DESC ROWS UNBOUNDED PRECEDING)
) AS listed
ORDER BY number;
