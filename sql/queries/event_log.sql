-- name: head
SELECT version, at, state_schema, state, project_id, leaf, fence FROM streams WHERE stream_id = $1 AND kind = $2;

-- name: versions (a declared fan-out, of the feed)
SELECT stream_id, version FROM streams WHERE stream_id = ANY ($1::text[]);

-- name: open_stream
INSERT INTO streams (stream_id, kind, project_id, version, at, state_schema, state, leaf)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT DO NOTHING
RETURNING version;

-- name: move_head
-- The expected leaf stops an append if the database was restored and the version came again with other events. The
-- expected fence stops it if the views were rewritten since the head was read.
UPDATE streams SET version = $5, at = $6, state_schema = $7, state = $8, leaf = $9
WHERE stream_id = $1 AND version = $2 AND leaf = $3 AND fence = $4
RETURNING version;

-- name: append
-- Adds the events and the rows of the outbox, so that a delivery is due exactly if its event is in the log.
WITH added AS (
    INSERT INTO events
        (stream_id, version, type, at, project_id, actor, request_id, cause, schema_version, software_version,
         algorithm, content, commitment, leaf)
    SELECT $1, $2 + place, kind, $7, $8, $9, $10, $11, $12, $13, $14, content, commitment, leaf
    FROM unnest($3::text[], $4::bytea[], $5::bytea[], $6::bytea[])
        WITH ORDINALITY AS new (kind, content, commitment, leaf, place)
    RETURNING stream_id, version, type, project_id
)
INSERT INTO webhook_deliveries (endpoint_id, stream_id, version)
SELECT endpoint_id, stream_id, version
FROM added JOIN webhook_endpoints USING (project_id)
WHERE enabled AND type = ANY (types);

-- name: read_types
SELECT stream_id, version, at, project_id, actor, request_id, cause, schema_version, content
FROM events
WHERE stream_id = $1 AND version > $2 AND version <= $3 AND type = ANY ($4::text[])
ORDER BY version
LIMIT $5;

-- name: read
SELECT stream_id, version, at, project_id, actor, request_id, cause, schema_version, content
FROM events
WHERE stream_id = $1 AND version > $2
ORDER BY version
LIMIT $3;
