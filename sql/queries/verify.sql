-- name: is_replica
SELECT pg_is_in_recovery();

-- name: normalize (texts of the type jsonb, as Postgres returns them)
SELECT array_agg(text::jsonb::text ORDER BY place) FROM unnest($1::text[]) WITH ORDINALITY AS given (text, place);

-- name: totals (of the streams with events since $1, or of all if it is null)
-- Heads and ranges say only that a stream is newer: what they say cannot leave a stream out.
SELECT count(*) AS streams, COALESCE(sum(version), 0)::bigint AS events
FROM streams
WHERE ($2::text IS NULL OR stream_id = $2) AND (
    $1::timestamptz IS NULL OR at >= $1
    OR EXISTS (SELECT FROM log_ranges WHERE log_ranges.stream_id = streams.stream_id AND log_ranges.at >= $1)
    OR EXISTS (SELECT FROM events WHERE events.stream_id = streams.stream_id AND events.at >= $1)
);

-- name: streams (with events since $2, or all if it is null)
SELECT stream_id, version FROM streams
WHERE stream_id > $1 AND ($3::text IS NULL OR stream_id = $3) AND (
    $2::timestamptz IS NULL OR at >= $2
    OR EXISTS (SELECT FROM log_ranges WHERE log_ranges.stream_id = streams.stream_id AND log_ranges.at >= $2)
    OR EXISTS (SELECT FROM events WHERE events.stream_id = streams.stream_id AND events.at >= $2)
)
ORDER BY stream_id
LIMIT $4;

-- name: heads
-- sealed: streams(stream_id, version): state
SELECT stream_id, kind, project_id, version, at, state_schema, state, leaf FROM streams WHERE stream_id = ANY ($1::text[]);

-- name: events
-- sealed: events(stream_id, version): content
SELECT stream_id, version, type, at, project_id, actor, request_id, cause, client, schema_version, software_version,
    algorithm, content, commitment, leaf
FROM events
WHERE stream_id = ANY ($1::text[])
ORDER BY stream_id, version;

-- name: ranges
SELECT stream_id, first_version, at, project_id, actor, request_id, types, leaves FROM log_ranges
WHERE stream_id = ANY ($1::text[])
ORDER BY stream_id, first_version;

-- name: pending
SELECT stream_id, first_version, at, project_id, actor, request_id, types, leaves FROM log_pending
WHERE stream_id = ANY ($1::text[])
ORDER BY stream_id, first_version;

-- name: events_without_head
SELECT stream_id, min(version) AS version FROM events
WHERE NOT EXISTS (SELECT FROM streams WHERE streams.stream_id = events.stream_id)
GROUP BY stream_id
LIMIT $1;

-- name: ranges_without_head
SELECT stream_id, min(first_version) AS version FROM log_ranges
WHERE NOT EXISTS (SELECT FROM streams WHERE streams.stream_id = log_ranges.stream_id)
GROUP BY stream_id
LIMIT $1;

-- name: pending_without_head
SELECT stream_id, min(first_version) AS version FROM log_pending
WHERE NOT EXISTS (SELECT FROM streams WHERE streams.stream_id = log_pending.stream_id)
GROUP BY stream_id
LIMIT $1;

-- name: changed_clients
-- Events that commit to another client than the row of their request has. $1 is the prefix of what is hashed.
SELECT events.stream_id, events.version, events.request_id
FROM events
JOIN request_clients ON request_clients.request_id = events.request_id
WHERE events.client <> sha256($1 || request_clients.content)
LIMIT $2;

-- name: rows_without_stream
-- Rows of views whose stream does not exist, or is of another kind.
SELECT view, found.stream_id, id
FROM (
    SELECT 'threads' AS view, 'thread' AS kind, thread_id AS stream_id, thread_id AS id FROM threads
    UNION ALL SELECT 'thread_attachments', 'thread', thread_id, position::text FROM thread_attachments
    UNION ALL SELECT 'messages', 'thread', thread_id, message_id FROM messages
    UNION ALL SELECT 'runs', 'thread', thread_id, run_id FROM runs
    UNION ALL SELECT 'active_runs', 'thread', thread_id, run_id FROM active_runs
    UNION ALL SELECT 'steps', 'thread', thread_id, step_id FROM steps
    UNION ALL SELECT 'metadata_pairs', kind, stream_id, encode(pair, 'hex') FROM metadata_pairs
    UNION ALL SELECT 'assistants', 'assistant', assistant_id, assistant_id FROM assistants
    UNION ALL SELECT 'files', 'file', file_id, file_id FROM files
    UNION ALL SELECT 'uploads', 'upload', upload_id, upload_id FROM uploads
    UNION ALL SELECT 'upload_parts', 'upload', upload_id, part_id FROM upload_parts
    UNION ALL SELECT 'api_keys', 'key', key_id, key_id FROM api_keys
    UNION ALL SELECT 'projects', 'project', project_id, project_id FROM projects
    UNION ALL SELECT 'webhook_endpoints', 'webhook_endpoint', endpoint_id, endpoint_id FROM webhook_endpoints
    UNION ALL SELECT 'vector_stores', 'vector_store', store_id, store_id FROM vector_stores
    UNION ALL SELECT 'vector_store_files', 'vector_store', store_id, file_id FROM vector_store_files
    UNION ALL SELECT 'vector_store_batches', 'vector_store', store_id, batch_id FROM vector_store_batches
) AS found
LEFT JOIN streams ON streams.stream_id = found.stream_id AND streams.kind = found.kind
WHERE streams.stream_id IS NULL
LIMIT $1;

-- name: epoch_events (the events at the first indexes of the epochs after the first one)
-- sealed: events(stream_id, version): content
SELECT epoch, events.stream_id, events.version, content, schema_version
FROM log_epochs
LEFT JOIN LATERAL (
    SELECT stream_id, first_version + log_epochs.first_index - first_index AS version FROM log_ranges
    WHERE first_index <= log_epochs.first_index
    ORDER BY first_index DESC
    LIMIT 1
) AS ranges ON true
LEFT JOIN events ON events.stream_id = ranges.stream_id AND events.version = ranges.version
WHERE epoch > 1
ORDER BY epoch;

-- name: checkpoints (of epoch $1, the newest one among them)
SELECT size, note FROM log_checkpoints WHERE epoch = $1
UNION
SELECT size, note FROM log_latest WHERE epoch = $1 AND note IS NOT NULL
ORDER BY size;

-- name: attestations (after the one of epoch $1, size $2 and attester $3; at most $4)
SELECT found.epoch, found.size, found.attester, found.kind, found.at, found.data, kept.note
FROM log_attestations AS found LEFT JOIN log_checkpoints AS kept ON kept.epoch = found.epoch AND kept.size = found.size
WHERE (found.epoch, found.size, found.attester) > ($1, $2, $3)
ORDER BY found.epoch, found.size, found.attester
LIMIT $4;

-- name: latest (the newest checkpoint, and the newest epoch that has kept ones)
SELECT epoch, size, note, COALESCE(
    (SELECT max(epoch) FROM log_checkpoints WHERE epoch IN (SELECT epoch FROM log_epochs)), 0
) AS kept_epoch
FROM log_latest;

-- name: log_pages
SELECT first_index, count, stream_id, first_version, leaves FROM log_ranges
WHERE first_index >= $1
ORDER BY first_index
LIMIT $2;

-- name: blobs (and the contents of the events that created the files)
-- sealed: events(file_id, version): content
SELECT file_id, blob, version, content, schema_version
FROM files
CROSS JOIN LATERAL (
    SELECT version, content, schema_version FROM events
    WHERE stream_id = file_id AND type = 'file.created'
    ORDER BY version DESC
    LIMIT 1
) AS created
WHERE blob IS NOT NULL AND file_id > $1 AND ($2::text IS NULL OR file_id = $2)
ORDER BY file_id
LIMIT $3;

-- name: part_events (that added the parts of pending uploads, after version $2 of upload $1)
-- sealed: events(stream_id, version): content
SELECT stream_id, version, content, schema_version FROM events
WHERE type = 'upload.part_added' AND (stream_id, version) > ($1, $2) AND ($3::text IS NULL OR stream_id = $3)
    AND stream_id IN (SELECT upload_id FROM uploads WHERE status = 'pending')
ORDER BY stream_id, version
LIMIT $4;

-- name: has_part
SELECT EXISTS (SELECT FROM upload_parts WHERE upload_id = $1 AND part_id = $2);

-- name: has_blob
SELECT EXISTS (SELECT FROM files WHERE file_id = $1 AND blob = $2);

-- name: tile
SELECT hashes, root FROM log_tiles WHERE epoch = $1 AND level = $2 AND number = $3;

-- name: tiles_beyond (those that the tree of epoch $1 lacks; it begins at index $2 and ends before $3, if that is not null)
SELECT level, number FROM log_tiles
WHERE epoch = $1 AND (
    level NOT BETWEEN 0 AND 6 OR number < 0 OR number >= COALESCE(
        (
            SELECT first_index + count - $2::bigint FROM log_ranges
            WHERE first_index >= $2 AND ($3::bigint IS NULL OR first_index < $3)
            ORDER BY first_index DESC
            LIMIT 1
        ), 0
    ) >> (8 * (level + 1))
)
ORDER BY level, number
LIMIT $4;

-- name: tables_without_epoch
SELECT 'log_tiles' AS relation, epoch FROM log_tiles WHERE epoch NOT IN (SELECT epoch FROM log_epochs) GROUP BY epoch
UNION ALL
SELECT 'log_checkpoints', epoch FROM log_checkpoints WHERE epoch NOT IN (SELECT epoch FROM log_epochs) GROUP BY epoch
ORDER BY relation, epoch
LIMIT $1;

-- name: log_keys (the public keys that signed checkpoints, by the installation's stream)
-- sealed: events($1, version): content
SELECT version, content, schema_version FROM events WHERE stream_id = $1 AND type = 'log_key.used' ORDER BY version;

-- name: erasures (the events that say which streams were erased, in the installation's stream)
-- sealed: events($1, version): content
SELECT version, content, schema_version FROM events WHERE stream_id = $1 AND type = 'streams.erased' ORDER BY version;
