-- name: epoch (the newest one)
SELECT epoch, origin, first_index FROM log_epochs ORDER BY epoch DESC LIMIT 1;

-- name: epochs
SELECT epoch, origin, first_index, lead(first_index) OVER (ORDER BY epoch) AS next_index
FROM log_epochs
ORDER BY epoch;

-- name: sizes (the epochs, each with the number of leaves of its tree)
SELECT epoch, origin, spans.first_index, next_index, COALESCE(newest.end_index - spans.first_index, 0) AS size
FROM (
    SELECT epoch, origin, first_index, lead(first_index) OVER (ORDER BY epoch) AS next_index FROM log_epochs
) AS spans
LEFT JOIN LATERAL (
    SELECT log_ranges.first_index + count AS end_index FROM log_ranges
    WHERE log_ranges.first_index >= spans.first_index
        AND (next_index IS NULL OR log_ranges.first_index < next_index)
    ORDER BY log_ranges.first_index DESC
    LIMIT 1
) AS newest ON true
ORDER BY epoch;

-- name: end (the index after the last event of the log below $1, or of all if it is null)
SELECT COALESCE(
    (
        SELECT first_index + count FROM log_ranges
        WHERE $1::bigint IS NULL OR first_index < $1
        ORDER BY first_index DESC
        LIMIT 1
    ),
    0
);

-- name: leaves (of the events from index $1 on, below $3 if it is given: the ranges that hold them, at most $2)
SELECT first_index, leaves
FROM log_ranges
WHERE first_index >= COALESCE(
        (SELECT first_index FROM log_ranges WHERE first_index <= $1 ORDER BY first_index DESC LIMIT 1), 0
    )
    AND ($3::bigint IS NULL OR first_index < $3)
ORDER BY first_index
LIMIT $2;

-- name: full_tiles (the number of full tiles of epoch $1 at level 0)
SELECT COALESCE((SELECT number + 1 FROM log_tiles WHERE epoch = $1 AND level = 0 ORDER BY number DESC LIMIT 1), 0);

-- name: tile
SELECT hashes FROM log_tiles WHERE epoch = $1 AND level = $2 AND number = $3;

-- name: roots (of the tiles with numbers from $3 to $4, without the last)
SELECT number, root FROM log_tiles
WHERE epoch = $1 AND level = $2 AND number >= $3 AND number < $4
ORDER BY number;

-- name: add_tiles
INSERT INTO log_tiles (epoch, level, number, hashes, root)
SELECT $1, level, number, hashes, root
FROM unnest($2::smallint[], $3::bigint[], $4::bytea[], $5::bytea[]) AS new (level, number, hashes, root)
ON CONFLICT DO NOTHING;

-- name: entries (the events with indexes from $1 to $2, without the last, and the leaves of the events before them)
SELECT ranges.first_index + events.version - ranges.first_version AS log_index, events.stream_id, events.version,
    events.type, events.at, events.project_id, events.actor, events.request_id, events.cause,
    events.client, events.algorithm, events.schema_version,
    events.software_version, events.commitment, before.leaf AS previous
FROM log_ranges AS ranges
JOIN events ON events.stream_id = ranges.stream_id AND events.version >= ranges.first_version
    AND events.version < ranges.first_version + ranges.count
LEFT JOIN events AS before ON before.stream_id = events.stream_id AND before.version = events.version - 1
WHERE ranges.first_index >= COALESCE(
        (SELECT first_index FROM log_ranges WHERE first_index <= $1 ORDER BY first_index DESC LIMIT 1), 0
    )
    AND ranges.first_index < $2
    AND ranges.first_index + events.version - ranges.first_version >= $1
    AND ranges.first_index + events.version - ranges.first_version < $2
ORDER BY log_index;

-- name: index_of (the index of version $2 of stream $1)
SELECT first_index + $2 - first_version AS log_index
FROM log_ranges
WHERE stream_id = $1 AND first_version <= $2 AND first_version + count > $2
ORDER BY first_version DESC
LIMIT 1;

-- name: content
-- sealed: events($1, $2): content
SELECT content, commitment FROM events WHERE stream_id = $1 AND version = $2;

-- name: latest (the newest checkpoint)
SELECT epoch, size, at, note FROM log_latest;

-- name: last_signed (the newest checkpoint of epoch $1)
SELECT epoch, size, at, note FROM log_checkpoints WHERE epoch = $1
UNION ALL
SELECT epoch, size, at, note FROM log_latest WHERE epoch = $1 AND note IS NOT NULL
ORDER BY size DESC
LIMIT 1;

-- name: replace_latest (if it is smaller; or of the same size, and $5)
-- A process does so only as long as no key is recorded above the version $7 of the installation's stream $6.
UPDATE log_latest SET epoch = $1, size = $2, at = $3, note = $4
WHERE ((epoch, size) < ($1, $2) OR ($5 AND (epoch, size) = ($1, $2)))
    AND NOT EXISTS (SELECT FROM events WHERE stream_id = $6 AND version > $7 AND type = 'log_key.used')
RETURNING size;

-- name: key_in_use (the last key that stream $1 recorded above version $2, if there is one, and the version of its head)
-- sealed: events($1, version): content
SELECT streams.version AS head, used.version, used.content, used.schema_version, used.actor
FROM streams
LEFT JOIN LATERAL (
    SELECT version, content, schema_version, actor FROM events
    WHERE events.stream_id = streams.stream_id AND version > $2 AND type = 'log_key.used'
    ORDER BY version DESC
    LIMIT 1
) AS used ON true
WHERE streams.stream_id = $1;

-- name: last_kept (the last checkpoint of epoch $1 that was kept)
SELECT at, size FROM log_checkpoints WHERE epoch = $1 ORDER BY size DESC LIMIT 1;

-- name: keep
INSERT INTO log_checkpoints (epoch, size, at, note) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING;

-- name: kept (the checkpoint of epoch $1 with size $2)
SELECT note FROM log_checkpoints WHERE epoch = $1 AND size = $2;

-- name: newest_begun (the version of the newest event that begins an epoch, in the stream $1)
SELECT max(version) FROM events WHERE stream_id = $1 AND type = 'epoch.begun';

-- name: event_at (the event with the index $1)
-- sealed: events(stream_id, version): content
SELECT events.stream_id, events.version, events.content, events.schema_version
FROM log_ranges AS ranges JOIN events ON events.stream_id = ranges.stream_id
    AND events.version = ranges.first_version + $1 - ranges.first_index
WHERE ranges.first_index = (SELECT first_index FROM log_ranges WHERE first_index <= $1 ORDER BY first_index DESC LIMIT 1)
    AND ranges.first_index + ranges.count > $1;
