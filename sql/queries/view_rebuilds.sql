-- name: find
SELECT last_stream_id FROM view_rebuilds WHERE views = $1;

-- name: note
INSERT INTO view_rebuilds (views, last_stream_id, noted_at) VALUES ($1, $2, now())
ON CONFLICT (views) DO UPDATE SET last_stream_id = excluded.last_stream_id, noted_at = excluded.noted_at;

-- name: forget
DELETE FROM view_rebuilds WHERE views = $1;

-- name: totals
SELECT
    count(*) AS streams,
    COALESCE(sum(version), 0)::bigint AS events,
    count(*) FILTER (WHERE stream_id <= $1) AS done_streams,
    COALESCE(sum(version) FILTER (WHERE stream_id <= $1), 0)::bigint AS done_events
FROM streams;
