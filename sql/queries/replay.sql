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
