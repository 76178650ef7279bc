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
-- The last event of each of these streams, up to $2, that is of one of these types: it began or ended the object. Erased
-- ones are left out.
-- sealed: events(stream_id, version): content
SELECT stream_id, version, type, content, schema_version
FROM unnest($1::text[]) AS wanted (id)
CROSS JOIN LATERAL (
    SELECT stream_id, version, type, content, schema_version FROM events
    WHERE stream_id = wanted.id AND project_id = $3 AND at <= $2 AND type = ANY ($4::text[])
      AND NOT EXISTS (
          SELECT FROM erasures WHERE erasures.stream_id = events.stream_id AND events.version <= erased_version
      )
    ORDER BY version DESC
    LIMIT 1
) AS last;

-- name: deleted_by_commands (the deleted threads of project $1 that a command created: it may have imported them)
SELECT first.stream_id
FROM (
    SELECT stream_id FROM log_ranges WHERE types && ARRAY ['thread.deleted'] AND project_id = $1
    UNION
    SELECT stream_id FROM log_pending WHERE types && ARRAY ['thread.deleted'] AND project_id = $1
) AS deleted
JOIN events AS first ON first.stream_id = deleted.stream_id AND first.version = 1
WHERE split_part(first.actor, ':', 1) = 'cli';

-- name: first_events (of those of the streams that were not erased)
-- sealed: events(stream_id, version): content
SELECT stream_id, version, at, project_id, actor, request_id, cause, client, schema_version, content FROM events
WHERE stream_id = ANY ($1::text[]) AND version = 1
  AND NOT EXISTS (
      SELECT FROM erasures WHERE erasures.stream_id = events.stream_id AND events.version <= erased_version
  );

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
-- A deleted thread has no row; the log, and the appends that wait for it, say which threads were deleted. Those that a
-- command created are $9, with the times $8: only the content of the first event says when one was created elsewhere.
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
        AND split_part(first.actor, ':', 1) <> 'cli'
    UNION
    SELECT created_at, id FROM unnest($8::timestamptz[], $9::text[]) AS imports (created_at, id)
    WHERE (created_at, id) > ($2, $3) AND (created_at, id) < ($4, $5)
) AS found
ORDER BY created_at, id
LIMIT $7;

-- name: candidates_thread_desc
-- A deleted thread has no row; the log, and the appends that wait for it, say which threads were deleted. Those that a
-- command created are $9, with the times $8: only the content of the first event says when one was created elsewhere.
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
        AND split_part(first.actor, ':', 1) <> 'cli'
    UNION
    SELECT created_at, id FROM unnest($8::timestamptz[], $9::text[]) AS imports (created_at, id)
    WHERE (created_at, id) > ($2, $3) AND (created_at, id) < ($4, $5)
) AS found
ORDER BY created_at DESC, id DESC
LIMIT $7;

-- name: thread_of_run (a scan of all runs, if the lists of runs lack it)
SELECT thread_id FROM runs WHERE run_id = $1;
