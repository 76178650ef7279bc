-- name: heads
-- The heads of those streams that exist, each with the leaf of the version that is asked for; null if it has no such event.
SELECT stream_id, streams.kind, streams.version, streams.leaf,
    (SELECT leaf FROM events WHERE events.stream_id = asked.stream_id AND events.version = asked.version) AS leaf_there
FROM unnest($1::text[], $2::bigint[]) AS asked (stream_id, version)
JOIN streams USING (stream_id);

-- name: open
-- New heads without a state, which the rebuild of the views makes.
INSERT INTO streams (stream_id, kind, project_id, version, at, state_schema, state, leaf, view_epoch)
SELECT stream_id, kind, project_id, version, at, state_schema, '', leaf, $8
FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::timestamptz[], $6::integer[], $7::bytea[])
    AS new (stream_id, kind, project_id, version, at, state_schema, leaf)
ON CONFLICT DO NOTHING
RETURNING stream_id;

-- name: move
-- Moves a head that has the version $2 and the leaf $3. The fence stops appends that have read the head before.
UPDATE streams SET version = $4, at = $5, state_schema = $6, state = '', leaf = $7, view_epoch = $8, fence = fence + 1
WHERE stream_id = $1 AND version = $2 AND leaf = $3
RETURNING stream_id;

-- name: imported (the events that say which streams were imported, in the installation's stream)
-- sealed: events($1, version): content
SELECT version, content, schema_version FROM events
WHERE stream_id = $1 AND type = 'streams.imported' AND version > $2
ORDER BY version
LIMIT $3;

-- name: leaves (of these versions of streams)
SELECT events.stream_id, events.version, events.leaf
FROM unnest($1::text[], $2::bigint[]) AS asked (stream_id, version)
JOIN events ON events.stream_id = asked.stream_id AND events.version = asked.version;
