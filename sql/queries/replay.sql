-- name: version_at
-- The version of the stream's last event at or before $2, or 0; $3 is its newest version. Times of a stream never
-- decrease, so a bisection finds it.
WITH RECURSIVE search (low, high) AS (
    SELECT 0::bigint, $3::bigint
    UNION ALL
    SELECT CASE WHEN events.at <= $2 THEN middle ELSE low END, CASE WHEN events.at <= $2 THEN high ELSE middle - 1 END
    FROM search
    CROSS JOIN LATERAL (SELECT (low + high + 1) / 2 AS middle) AS half
    JOIN events ON events.stream_id = $1 AND events.version = middle
    WHERE low < high
)
SELECT low FROM search WHERE low = high;

-- name: life_at
-- The last event of each of these streams, up to $2, that is of one of these types: it began or ended the object.
SELECT stream_id, type, content, schema_version
FROM unnest($1::text[]) AS wanted (id)
CROSS JOIN LATERAL (
    SELECT stream_id, type, content, schema_version FROM events
    WHERE stream_id = wanted.id AND project_id = $3 AND at <= $2 AND type = ANY ($4::text[])
    ORDER BY version DESC
    LIMIT 1
) AS last;

-- name: first_event (of a stream of project $2 that begins with type $3)
SELECT at, stream_id FROM events WHERE stream_id = $1 AND version = 1 AND project_id = $2 AND type = $3;

-- name: candidates_assistant_asc
SELECT created_at, assistant_id AS id FROM assistants
WHERE project_id = $1 AND ($6 OR NOT deleted)
  AND (created_at, assistant_id) > ($2, $3) AND (created_at, assistant_id) < ($4, $5)
ORDER BY created_at, assistant_id
LIMIT $7;

-- name: candidates_assistant_desc
SELECT created_at, assistant_id AS id FROM assistants
WHERE project_id = $1 AND ($6 OR NOT deleted)
  AND (created_at, assistant_id) > ($2, $3) AND (created_at, assistant_id) < ($4, $5)
ORDER BY created_at DESC, assistant_id DESC
LIMIT $7;

-- name: candidates_vector_store_asc
SELECT created_at, store_id AS id FROM vector_stores
WHERE project_id = $1 AND ($6 OR NOT deleted)
  AND (created_at, store_id) > ($2, $3) AND (created_at, store_id) < ($4, $5)
ORDER BY created_at, store_id
LIMIT $7;

-- name: candidates_vector_store_desc
SELECT created_at, store_id AS id FROM vector_stores
WHERE project_id = $1 AND ($6 OR NOT deleted)
  AND (created_at, store_id) > ($2, $3) AND (created_at, store_id) < ($4, $5)
ORDER BY created_at DESC, store_id DESC
LIMIT $7;

-- name: candidates_thread_asc
-- A deleted thread has no row; the log, and the appends that wait for it, say which threads were deleted.
SELECT created_at, id FROM (
    SELECT created_at, thread_id AS id FROM threads
    WHERE project_id = $1 AND (created_at, thread_id) > ($2, $3) AND (created_at, thread_id) < ($4, $5)
    UNION
    SELECT first.at, first.stream_id
    FROM (
        SELECT stream_id FROM log_ranges WHERE $6 AND types && ARRAY ['thread.deleted'] AND project_id = $1
        UNION
        SELECT stream_id FROM log_pending WHERE $6 AND types && ARRAY ['thread.deleted'] AND project_id = $1
    ) AS deleted
    JOIN events AS first ON first.stream_id = deleted.stream_id AND first.version = 1
    WHERE (first.at, first.stream_id) > ($2, $3) AND (first.at, first.stream_id) < ($4, $5)
) AS found
ORDER BY created_at, id
LIMIT $7;

-- name: candidates_thread_desc
-- A deleted thread has no row; the log, and the appends that wait for it, say which threads were deleted.
SELECT created_at, id FROM (
    SELECT created_at, thread_id AS id FROM threads
    WHERE project_id = $1 AND (created_at, thread_id) > ($2, $3) AND (created_at, thread_id) < ($4, $5)
    UNION
    SELECT first.at, first.stream_id
    FROM (
        SELECT stream_id FROM log_ranges WHERE $6 AND types && ARRAY ['thread.deleted'] AND project_id = $1
        UNION
        SELECT stream_id FROM log_pending WHERE $6 AND types && ARRAY ['thread.deleted'] AND project_id = $1
    ) AS deleted
    JOIN events AS first ON first.stream_id = deleted.stream_id AND first.version = 1
    WHERE (first.at, first.stream_id) > ($2, $3) AND (first.at, first.stream_id) < ($4, $5)
) AS found
ORDER BY created_at DESC, id DESC
LIMIT $7;

-- name: thread_of_run (also of a deleted thread)
SELECT thread_id FROM runs WHERE run_id = $1
UNION
SELECT thread_id FROM usage_runs WHERE run_id = $1
LIMIT 1;
