-- name: page
-- The events of the next $7 ranges with indexes from $1 to $2, without the last, each with the leaf of the version before.
-- Only those of the project $3, of the streams $4, and of appends from $5 on and before $6, if these are given. A range
-- without an event has a row without one, and an event that was erased has no content.
-- sealed: events(stream_id, version): content
WITH page AS (
    SELECT first_index, stream_id, first_version, count FROM log_ranges
    WHERE first_index >= $1 AND first_index < $2
        AND ($3::text IS NULL OR project_id = $3)
        AND ($4::text[] IS NULL OR stream_id = ANY ($4))
        AND ($5::timestamptz IS NULL OR at >= $5)
        AND ($6::timestamptz IS NULL OR at < $6)
    ORDER BY first_index
    LIMIT $7
)
SELECT page.first_index, page.count, page.first_index + events.version - page.first_version AS log_index,
    events.stream_id, events.version, events.type, events.at, events.project_id, events.actor, events.request_id,
    events.cause, events.client, events.algorithm, events.schema_version, events.software_version, events.commitment,
    before.leaf AS previous, events.leaf,
    CASE WHEN NOT EXISTS (
        SELECT FROM erasures WHERE erasures.stream_id = events.stream_id AND events.version <= erased_version
    ) THEN events.content END AS content
FROM page
LEFT JOIN events ON events.stream_id = page.stream_id AND events.version >= page.first_version
    AND events.version < page.first_version + page.count
LEFT JOIN events AS before ON before.stream_id = events.stream_id AND before.version = events.version - 1
ORDER BY log_index;

-- name: files_of_project (those of the ids $2 that are files of the project $1)
SELECT stream_id FROM streams WHERE kind = 'file' AND project_id = $1 AND stream_id = ANY ($2::text[]) ORDER BY stream_id;

-- name: created_files
-- The next $7 events that create a file, in the order of their streams behind $1. Scoped as the events of `page`, and
-- with an index below $2.
-- sealed: events(stream_id, version): content
SELECT events.stream_id, events.version, events.content, events.schema_version
FROM log_ranges
JOIN events ON events.stream_id = log_ranges.stream_id AND events.version >= log_ranges.first_version
    AND events.version < log_ranges.first_version + log_ranges.count AND events.type = 'file.created'
WHERE log_ranges.types @> ARRAY ['file.created'] AND log_ranges.stream_id > $1 AND log_ranges.first_index < $2
    AND ($3::text IS NULL OR log_ranges.project_id = $3)
    AND ($4::text[] IS NULL OR log_ranges.stream_id = ANY ($4))
    AND ($5::timestamptz IS NULL OR log_ranges.at >= $5)
    AND ($6::timestamptz IS NULL OR log_ranges.at < $6)
    AND NOT EXISTS (
        SELECT FROM erasures WHERE erasures.stream_id = events.stream_id AND events.version <= erased_version
    )
ORDER BY events.stream_id
LIMIT $7;
