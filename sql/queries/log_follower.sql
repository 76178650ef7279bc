-- name: ranges (of the log from index $1 on; `concerns` says if one of its events has a type of $2)
SELECT first_index, count, stream_id, first_version, types && $2::text[] AS concerns
FROM log_ranges
WHERE first_index >= $1
ORDER BY first_index
LIMIT $3;

-- name: events (of the types $4, in these ranges of versions, without those that were erased)
-- sealed: events(stream_id, version): content
SELECT events.stream_id, events.version, at, content, schema_version, project_id, actor, request_id, cause, client
FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS ranges (stream_id, first, last)
JOIN events ON events.stream_id = ranges.stream_id AND events.version BETWEEN first AND last
WHERE type = ANY ($4::text[])
  AND NOT EXISTS (
      SELECT FROM erasures WHERE erasures.stream_id = events.stream_id AND events.version <= erased_version
  )
ORDER BY events.stream_id, events.version;
