-- name: head
-- sealed: streams($1, version): state
SELECT version, at, state_schema, state, project_id, leaf, fence FROM streams WHERE stream_id = $1 AND kind = $2;

-- name: lock_head (until the end of the transaction, which Postgres breaks off if it sends nothing for $2 milliseconds)
SELECT set_config('idle_in_transaction_session_timeout', $2::text, true) FROM streams WHERE stream_id = $1 FOR UPDATE;

-- name: versions (a declared fan-out, of the feed)
SELECT stream_id, version FROM streams WHERE stream_id = ANY ($1::text[]);

-- name: read_types
-- Events after the first $6 bytes of contents have no content.
-- sealed: events(stream_id, version): content
SELECT stream_id, version, at, project_id, actor, request_id, cause, client, schema_version,
    CASE WHEN bytes_before < $6 THEN content END AS content
FROM (
    SELECT *, sum(octet_length(content)) OVER (ORDER BY version ROWS UNBOUNDED PRECEDING) - octet_length(content)
        AS bytes_before
    FROM (
        SELECT stream_id, version, at, project_id, actor, request_id, cause, client, schema_version, content
        FROM events
        WHERE stream_id = $1 AND version > $2 AND version <= $3 AND type = ANY ($4::text[])
        ORDER BY version
        LIMIT $5
    ) AS page
) AS sized
ORDER BY version;

-- name: read
-- Leaves out the events after the first $4 bytes of contents.
-- sealed: events(stream_id, version): content
SELECT stream_id, version, at, project_id, actor, request_id, cause, client, schema_version, content
FROM (
    SELECT *, sum(octet_length(content)) OVER (ORDER BY version ROWS UNBOUNDED PRECEDING) - octet_length(content)
        AS bytes_before
    FROM (
        SELECT stream_id, version, at, project_id, actor, request_id, cause, client, schema_version, content
        FROM events
        WHERE stream_id = $1 AND version > $2
        ORDER BY version
        LIMIT $3
    ) AS page
) AS sized
WHERE bytes_before < $4
ORDER BY version;
