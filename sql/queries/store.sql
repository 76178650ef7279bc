-- name: head
SELECT version, at, state_schema, state, project_id FROM streams WHERE stream_id = $1 AND kind = $2;

-- name: open_stream
INSERT INTO streams (stream_id, kind, project_id, version, at, state_schema, state)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT DO NOTHING
RETURNING version;

-- name: move_head
UPDATE streams SET version = $3, at = $4, state_schema = $5, state = $6
WHERE stream_id = $1 AND version = $2
RETURNING version;

-- name: append
INSERT INTO events
    (stream_id, version, type, at, project_id, actor, request_id, cause, schema_version, software_version, content)
SELECT $1, $2 + place, kind, $5, $6, $7, $8, $9, $10, $11, content
FROM unnest($3::text[], $4::bytea[]) WITH ORDINALITY AS new (kind, content, place);

-- name: read
SELECT stream_id, version, at, project_id, actor, request_id, cause, schema_version, content
FROM events
WHERE stream_id = $1 AND version > $2
ORDER BY version
LIMIT $3;
