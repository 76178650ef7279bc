-- name: totals (of a project; of all if it is null)
SELECT COALESCE(sum(version), 0)::bigint
FROM streams
WHERE $1::text IS NULL OR project_id = $1;

-- name: totals_of (these streams)
SELECT COALESCE(sum(version), 0)::bigint FROM streams WHERE stream_id = ANY ($1::text[]);

-- name: erased (those of the streams that were erased)
SELECT stream_id FROM erasures WHERE stream_id = ANY ($1::text[]) AND erased_version > 0;

-- name: page (streams behind $1, of a project; of all if it is null)
SELECT stream_id, version FROM streams
WHERE stream_id > $1 AND ($2::text IS NULL OR project_id = $2)
ORDER BY stream_id
LIMIT $3;

-- name: heads
-- sealed: streams(stream_id, version): state
SELECT stream_id, kind, version, state_schema, state FROM streams WHERE stream_id = ANY ($1::text[]) ORDER BY stream_id;

-- name: events (of streams of which none was erased)
-- sealed: events(stream_id, version): content
SELECT stream_id, version, type, at, project_id, actor, request_id, cause, client, schema_version, software_version, content
FROM events
WHERE stream_id = ANY ($1::text[])
  AND NOT EXISTS (SELECT FROM erasures WHERE erasures.stream_id = events.stream_id AND erased_version > 0)
ORDER BY stream_id, version;
