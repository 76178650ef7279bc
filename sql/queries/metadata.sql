-- name: rarest_pair
-- Counts the objects that have each pair, up to a number, and returns the pair that the fewest have.
SELECT wanted.pair, count(found.stream_id) AS count
FROM unnest($3::bytea[]) AS wanted (pair) LEFT JOIN LATERAL (
    SELECT stream_id FROM metadata_pairs
    WHERE project_id = $1 AND kind = $2 AND metadata_pairs.pair = wanted.pair
    LIMIT $4
) AS found ON true
GROUP BY wanted.pair
ORDER BY count
LIMIT 1;

-- name: list_thread_asc
-- sealed: threads(thread_id): body, patches
SELECT thread_id, body, patches, has_own_store, attached
FROM metadata_pairs AS first JOIN threads_with_attachments ON thread_id = first.stream_id
WHERE first.project_id = $1 AND first.kind = 'thread' AND first.pair = $2
  AND (first.created_at, first.stream_id) > ($4, $5) AND (first.created_at, first.stream_id) < ($6, $7)
  AND (cardinality($3::uuid[]) = 1 OR first.together @> $3)
ORDER BY first.created_at, first.stream_id
LIMIT $8;

-- name: list_thread_desc
-- sealed: threads(thread_id): body, patches
SELECT thread_id, body, patches, has_own_store, attached
FROM metadata_pairs AS first JOIN threads_with_attachments ON thread_id = first.stream_id
WHERE first.project_id = $1 AND first.kind = 'thread' AND first.pair = $2
  AND (first.created_at, first.stream_id) > ($4, $5) AND (first.created_at, first.stream_id) < ($6, $7)
  AND (cardinality($3::uuid[]) = 1 OR first.together @> $3)
ORDER BY first.created_at DESC, first.stream_id DESC
LIMIT $8;

-- name: list_assistant_asc
-- Rows after the first $9 bytes have no body.
-- sealed: assistants(stream_id): body, patches
SELECT stream_id, CASE WHEN bytes_before < $9 THEN body END AS body, CASE WHEN bytes_before < $9 THEN patches END AS patches
FROM (
    SELECT stream_id, body, patches, row_number() OVER page AS number, sum(bytes) OVER page - bytes AS bytes_before
    FROM (
        SELECT first.created_at, first.stream_id, body, patches,
            octet_length(body) + COALESCE((SELECT sum(octet_length(patch)) FROM unnest(patches) AS patch), 0) AS bytes
        FROM metadata_pairs AS first JOIN assistants ON assistant_id = first.stream_id
        WHERE first.project_id = $1 AND first.kind = 'assistant' AND first.pair = $2
          AND (first.created_at, first.stream_id) > ($4, $5) AND (first.created_at, first.stream_id) < ($6, $7)
          AND (cardinality($3::uuid[]) = 1 OR first.together @> $3)
        ORDER BY first.created_at, first.stream_id
        LIMIT $8
    ) AS sized
    WINDOW page AS (ORDER BY created_at, stream_id ROWS UNBOUNDED PRECEDING)
) AS listed
ORDER BY number;

-- name: list_assistant_desc
-- Rows after the first $9 bytes have no body.
-- sealed: assistants(stream_id): body, patches
SELECT stream_id, CASE WHEN bytes_before < $9 THEN body END AS body, CASE WHEN bytes_before < $9 THEN patches END AS patches
FROM (
    SELECT stream_id, body, patches, row_number() OVER page AS number, sum(bytes) OVER page - bytes AS bytes_before
    FROM (
        SELECT first.created_at, first.stream_id, body, patches,
            octet_length(body) + COALESCE((SELECT sum(octet_length(patch)) FROM unnest(patches) AS patch), 0) AS bytes
        FROM metadata_pairs AS first JOIN assistants ON assistant_id = first.stream_id
        WHERE first.project_id = $1 AND first.kind = 'assistant' AND first.pair = $2
          AND (first.created_at, first.stream_id) > ($4, $5) AND (first.created_at, first.stream_id) < ($6, $7)
          AND (cardinality($3::uuid[]) = 1 OR first.together @> $3)
        ORDER BY first.created_at DESC, first.stream_id DESC
        LIMIT $8
    ) AS sized
    WINDOW page AS (ORDER BY created_at DESC, stream_id DESC ROWS UNBOUNDED PRECEDING)
) AS listed
ORDER BY number;

-- name: count_between
SELECT count(*) FROM threads
WHERE project_id = $1 AND (created_at, thread_id) > ($2, $3) AND (created_at, thread_id) < ($4, $5);

-- name: count_matching
SELECT count(*) FROM metadata_pairs AS first
WHERE first.project_id = $1 AND first.kind = 'thread' AND first.pair = $2
  AND (first.created_at, first.stream_id) > ($4, $5) AND (first.created_at, first.stream_id) < ($6, $7)
  AND (cardinality($3::uuid[]) = 1 OR first.together @> $3);
