-- name: lock (until the connection ends; false if another one has it)
SELECT pg_try_advisory_lock(hashtextextended('view_rebuilds', 0));

-- name: find
SELECT last_stream_id, broken, has_ended FROM view_rebuilds WHERE views = $1 AND software_version = $2;

-- name: note
INSERT INTO view_rebuilds (views, last_stream_id, noted_at, software_version, broken, has_ended)
VALUES ($1, $2, now(), $3, $4, $5)
ON CONFLICT (views) DO UPDATE SET
    last_stream_id = excluded.last_stream_id, noted_at = excluded.noted_at,
    software_version = excluded.software_version, broken = excluded.broken, has_ended = excluded.has_ended;

-- name: forget
DELETE FROM view_rebuilds WHERE views = $1;

-- name: totals
SELECT
    count(*) AS streams,
    COALESCE(sum(version), 0)::bigint AS events,
    count(*) FILTER (WHERE stream_id <= $1) AS done_streams,
    COALESCE(sum(version) FILTER (WHERE stream_id <= $1), 0)::bigint AS done_events
FROM streams;
