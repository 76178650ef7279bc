-- name: insert
INSERT INTO assistants (assistant_id, project_id, created_at, body) VALUES ($1, $2, $3, $4);

-- name: lock
SELECT body FROM assistants WHERE assistant_id = $1 FOR UPDATE;

-- name: replace
UPDATE assistants SET body = $2 WHERE assistant_id = $1;

-- name: delete
UPDATE assistants SET deleted = true, body = '{}' WHERE assistant_id = $1;

-- name: get
SELECT body FROM assistants WHERE assistant_id = $1 AND project_id = $2 AND NOT deleted;

-- name: list_position
SELECT created_at, assistant_id AS id FROM assistants WHERE assistant_id = $1 AND project_id = $2;

-- name: list_asc
-- Rows after the first $7 bytes have no body.
SELECT CASE WHEN bytes_before < $7 THEN body END AS body
FROM (
    SELECT body, row_number() OVER page AS number,
        sum(octet_length(body::text)) OVER page - octet_length(body::text) AS bytes_before
    FROM assistants
    WHERE project_id = $1 AND NOT deleted
      AND (created_at, assistant_id) > ($2, $3) AND (created_at, assistant_id) < ($4, $5)
    WINDOW page AS (ORDER BY created_at, assistant_id ROWS UNBOUNDED PRECEDING)
    ORDER BY created_at, assistant_id
    LIMIT $6
) AS listed
ORDER BY number;

-- name: list_desc
-- Rows after the first $7 bytes have no body.
SELECT CASE WHEN bytes_before < $7 THEN body END AS body
FROM (
    SELECT body, row_number() OVER page AS number,
        sum(octet_length(body::text)) OVER page - octet_length(body::text) AS bytes_before
    FROM assistants
    WHERE project_id = $1 AND NOT deleted
      AND (created_at, assistant_id) > ($2, $3) AND (created_at, assistant_id) < ($4, $5)
    WINDOW page AS (ORDER BY created_at DESC, assistant_id DESC ROWS UNBOUNDED PRECEDING)
    ORDER BY created_at DESC, assistant_id DESC
    LIMIT $6
) AS listed
ORDER BY number;
