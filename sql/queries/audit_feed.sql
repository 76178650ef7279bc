-- name: page
-- The events with indexes from $1 that all given filters let through, without contents. `content_size` is in bytes.
SELECT ranges.first_index + events.version - ranges.first_version AS log_index, events.stream_id, events.version,
    events.type, events.at, events.project_id, events.actor, events.request_id, events.cause, events.client,
    events.algorithm, events.schema_version, events.software_version, events.commitment, events.leaf,
    octet_length(events.content) - CASE WHEN events.key_id IS NULL THEN 0 ELSE 44 END AS content_size,
    request_clients.content AS client_content
FROM log_ranges AS ranges
JOIN events ON events.stream_id = ranges.stream_id AND events.version >= ranges.first_version
    AND events.version < ranges.first_version + ranges.count
LEFT JOIN request_clients ON request_clients.request_id = events.request_id AND events.client IS NOT NULL
WHERE ranges.first_index >= COALESCE(
        (SELECT first_index FROM log_ranges WHERE first_index <= $1 ORDER BY first_index DESC LIMIT 1), 0
    )
    AND ranges.first_index + events.version - ranges.first_version >= $1
    AND ($2::text IS NULL OR ranges.project_id = $2)
    AND ($3::text IS NULL OR ranges.actor = $3)
    AND ($4::text IS NULL OR ranges.stream_id = $4)
    AND ($5::text IS NULL OR ranges.request_id = $5)
    AND ($6::text[] IS NULL OR (ranges.types && $6 AND events.type = ANY ($6)))
    AND ($7::timestamptz IS NULL OR ranges.at >= $7)
    AND ($8::timestamptz IS NULL OR ranges.at < $8)
ORDER BY ranges.first_index, events.version
LIMIT $9;

-- name: page_down
-- The events with indexes below $1 that all given filters let through, the newest first, without contents. `content_size` is in bytes.
SELECT ranges.first_index + events.version - ranges.first_version AS log_index, events.stream_id, events.version,
    events.type, events.at, events.project_id, events.actor, events.request_id, events.cause, events.client,
    events.algorithm, events.schema_version, events.software_version, events.commitment, events.leaf,
    octet_length(events.content) - CASE WHEN events.key_id IS NULL THEN 0 ELSE 44 END AS content_size,
    request_clients.content AS client_content
FROM log_ranges AS ranges
JOIN events ON events.stream_id = ranges.stream_id AND events.version >= ranges.first_version
    AND events.version < ranges.first_version + ranges.count
LEFT JOIN request_clients ON request_clients.request_id = events.request_id AND events.client IS NOT NULL
WHERE ranges.first_index < $1
    AND ranges.first_index + events.version - ranges.first_version < $1
    AND ($2::text IS NULL OR ranges.project_id = $2)
    AND ($3::text IS NULL OR ranges.actor = $3)
    AND ($4::text IS NULL OR ranges.stream_id = $4)
    AND ($5::text IS NULL OR ranges.request_id = $5)
    AND ($6::text[] IS NULL OR (ranges.types && $6 AND events.type = ANY ($6)))
    AND ($7::timestamptz IS NULL OR ranges.at >= $7)
    AND ($8::timestamptz IS NULL OR ranges.at < $8)
ORDER BY ranges.first_index DESC, events.version DESC
LIMIT $9;

-- name: contents (but those that were erased)
-- sealed: events(stream_id, version): content
SELECT stream_id, version, content FROM events
WHERE (stream_id, version) IN (SELECT * FROM unnest($1::text[], $2::bigint[]))
  AND NOT EXISTS (
      SELECT FROM erasures WHERE erasures.stream_id = events.stream_id AND events.version <= erased_version
  );

-- name: end (the index after the last event)
SELECT first_index + count AS end_index FROM log_ranges ORDER BY first_index DESC LIMIT 1;

-- name: plan_with_values (in this transaction, statements are planned for the filters that are given)
SET LOCAL plan_cache_mode = force_custom_plan;

-- name: page_newest
-- The events of some types with indexes above $1 and below $2, the newest first, with contents. That of an erased event is null.
-- sealed: events(stream_id, version): content
SELECT ranges.first_index + events.version - ranges.first_version AS log_index, events.stream_id, events.version,
    events.type, events.at, events.project_id, events.actor, events.request_id, events.cause, events.client,
    events.algorithm, events.schema_version, events.software_version, events.commitment, events.leaf,
    octet_length(events.content) - CASE WHEN events.key_id IS NULL THEN 0 ELSE 44 END AS content_size,
    request_clients.content AS client_content,
    CASE WHEN NOT EXISTS (
        SELECT FROM erasures WHERE erasures.stream_id = events.stream_id AND events.version <= erased_version
    ) THEN events.content END AS content
FROM log_ranges AS ranges
JOIN events ON events.stream_id = ranges.stream_id AND events.version >= ranges.first_version
    AND events.version < ranges.first_version + ranges.count
LEFT JOIN request_clients ON request_clients.request_id = events.request_id AND events.client IS NOT NULL
WHERE ranges.types && $3::text[] AND events.type = ANY ($3)
    AND ranges.first_index < $2
    AND ranges.first_index + events.version - ranges.first_version > $1
    AND ranges.first_index + events.version - ranges.first_version < $2
    AND ($4::text[] IS NULL OR ranges.project_id = ANY ($4))
    AND ($5::text[] IS NULL OR ranges.actor = ANY ($5))
    AND ($6::text[] IS NULL OR ranges.stream_id = ANY ($6))
    AND ($7::timestamptz IS NULL OR ranges.at >= $7)
    AND ($8::timestamptz IS NULL OR ranges.at < $8)
ORDER BY ranges.first_index DESC, events.version DESC
LIMIT $9;
