-- name: pending
-- The next appends after ($1, $2, $3), in the order of the log.
SELECT at, stream_id, first_version, project_id, actor, request_id, types, leaves
FROM log_pending
WHERE (at, stream_id, first_version) > ($1, $2, $3)
ORDER BY at, stream_id, first_version
LIMIT $4;

-- name: oldest
SELECT at, stream_id, first_version FROM log_pending ORDER BY at, stream_id, first_version LIMIT 1;

-- name: end (the index of the next leaf)
SELECT greatest(
    (SELECT max(first_index) FROM log_epochs),
    (SELECT first_index + count FROM log_ranges ORDER BY first_index DESC LIMIT 1)
);

-- name: versions (the last version in the log of each of these streams that has events there)
SELECT stream_id, version
FROM unnest($1::text[]) AS asked (stream_id)
CROSS JOIN LATERAL (
    SELECT first_version + count - 1 AS version FROM log_ranges
    WHERE log_ranges.stream_id = asked.stream_id
    ORDER BY first_version DESC
    LIMIT 1
) AS newest;

-- name: seal (ranges; and the epoch $11 of the origin $12, which begins with them at the index $13, if it is given)
WITH sealed AS (
    INSERT INTO log_ranges
        (first_index, count, at, stream_id, first_version, project_id, actor, request_id, types, leaves)
    SELECT first_index, count, at, stream_id, first_version, project_id, actor, request_id, string_to_array(types, ','),
        leaves
    FROM unnest(
        $1::bigint[], $2::integer[], $3::timestamptz[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::text[],
        $9::text[], $10::bytea[]
    ) AS new (first_index, count, at, stream_id, first_version, project_id, actor, request_id, types, leaves)
)
INSERT INTO log_epochs (epoch, origin, first_index)
SELECT $11::integer, $12::text, $13::bigint WHERE $11::integer IS NOT NULL;

-- name: waiting (the appends of stream $1 that wait, in order)
SELECT at, stream_id, first_version, project_id, actor, request_id, types, leaves
FROM log_pending
WHERE stream_id = $1
ORDER BY first_version;

-- name: delete
DELETE FROM log_pending
USING unnest($1::timestamptz[], $2::text[], $3::bigint[]) AS done (at, stream_id, first_version)
WHERE log_pending.at = done.at AND log_pending.stream_id = done.stream_id
    AND log_pending.first_version = done.first_version;

-- name: fill_gap
-- Rows for the events of stream $2 with versions above $3 and below $4 that have none. A server of an older release, which
-- knew no log, appended them.
INSERT INTO log_pending (at, stream_id, first_version, project_id, actor, request_id, types, leaves)
SELECT $1, stream_id, version, project_id, actor, request_id, ARRAY [type], leaf
FROM events
WHERE stream_id = $2 AND version > $3 AND version < $4
    AND NOT EXISTS (
        SELECT FROM log_pending
        WHERE log_pending.stream_id = $2 AND version >= first_version
            AND version < first_version + octet_length(leaves) / 32
    )
ORDER BY version
LIMIT $5
ON CONFLICT DO NOTHING;

-- name: waiting_count (the rows that wait, up to $1)
SELECT count(*) FROM (SELECT FROM log_pending LIMIT $1) AS counted;
