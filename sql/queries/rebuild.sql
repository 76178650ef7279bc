-- name: hold
-- Locks the heads and moves their fences, so that no append that waited for a head uses facts from before. The order of
-- the locks keeps two rebuilds from waiting for each other.
-- sealed: streams(stream_id, version): state
WITH held AS (
    SELECT stream_id FROM streams
    WHERE stream_id = ANY ($1::text[]) AND NOT EXISTS (
        SELECT FROM erasures WHERE erasures.stream_id = streams.stream_id AND erased_version = streams.version
    )
    ORDER BY stream_id FOR UPDATE
)
UPDATE streams SET fence = fence + 1, view_epoch = $2 FROM held
WHERE streams.stream_id = held.stream_id
RETURNING streams.stream_id, kind, version, fence, state_schema, state,
    COALESCE((SELECT erased_version FROM erasures WHERE erasures.stream_id = streams.stream_id), 0) AS erased_version;

-- name: hold_unmoved
-- As `hold`, but only the heads that still have the expected version and fence. Returns their streams.
WITH held AS (
    SELECT streams.stream_id
    FROM streams JOIN unnest($1::text[], $2::bigint[], $3::bigint[]) AS expected (stream_id, version, fence)
        ON streams.stream_id = expected.stream_id
    WHERE streams.version = expected.version AND streams.fence = expected.fence
    ORDER BY streams.stream_id FOR UPDATE OF streams
)
UPDATE streams SET fence = fence + 1, view_epoch = $4 FROM held
WHERE streams.stream_id = held.stream_id
RETURNING streams.stream_id;

-- name: heads (those of streams that have an event that was not erased)
-- sealed: streams(stream_id, version): state
SELECT stream_id, streams.kind, streams.version, fence, state_schema, state, COALESCE(erased_version, 0) AS erased_version
FROM streams LEFT JOIN erasures USING (stream_id)
WHERE stream_id = ANY ($1::text[]) AND streams.version > COALESCE(erased_version, 0);

-- name: replace_state
UPDATE streams SET state = $2 WHERE stream_id = $1;

-- name: events
-- sealed: events(stream_id, version): content
SELECT stream_id, version, at, content, schema_version, project_id, actor, request_id, cause, client
FROM events
WHERE stream_id = ANY ($1::text[])
ORDER BY stream_id, version;

-- name: events_left (of these streams, behind the versions $2 up to which they were erased)
-- sealed: events(stream_id, version): content
SELECT events.stream_id, version, at, content, schema_version, project_id, actor, request_id, cause, client
FROM unnest($1::text[], $2::bigint[]) AS wanted (stream_id, after)
JOIN events ON events.stream_id = wanted.stream_id AND version > after
ORDER BY events.stream_id, version;

-- name: streams
SELECT stream_id, version FROM streams WHERE stream_id > $1 ORDER BY stream_id LIMIT $2;

-- name: rows_active_runs
SELECT * FROM active_runs WHERE thread_id = ANY ($1::text[]);

-- name: delete_active_runs
DELETE FROM active_runs USING unnest($1::text[], $2::text[]) AS old (thread_id, run_id)
WHERE active_runs.thread_id = old.thread_id AND active_runs.run_id = old.run_id;

-- name: rows_api_keys
SELECT * FROM api_keys WHERE key_id = ANY ($1::text[]);

-- name: delete_api_keys
DELETE FROM api_keys WHERE key_id = ANY ($1::text[]);

-- name: rows_assistants
-- sealed: assistants(assistant_id): body, patches
SELECT * FROM assistants WHERE assistant_id = ANY ($1::text[]);

-- name: delete_assistants
DELETE FROM assistants WHERE assistant_id = ANY ($1::text[]);

-- name: rows_files
-- sealed: files(file_id): body
SELECT * FROM files WHERE file_id = ANY ($1::text[]);

-- name: delete_files
DELETE FROM files WHERE file_id = ANY ($1::text[]);

-- name: rows_messages
-- sealed: messages(thread_id, message_id): body, patches
SELECT * FROM messages WHERE thread_id = ANY ($1::text[]);

-- name: delete_messages
DELETE FROM messages USING unnest($1::text[], $2::text[]) AS old (thread_id, message_id)
WHERE messages.thread_id = old.thread_id AND messages.message_id = old.message_id;

-- name: rows_metadata_pairs
SELECT * FROM metadata_pairs WHERE stream_id = ANY ($1::text[]);

-- name: delete_metadata_pairs
DELETE FROM metadata_pairs USING unnest($1::text[], $2::bytea[]) AS old (stream_id, pair)
WHERE metadata_pairs.stream_id = old.stream_id AND metadata_pairs.pair = old.pair;

-- name: rows_projects
SELECT * FROM projects WHERE project_id = ANY ($1::text[]);

-- name: delete_projects
DELETE FROM projects WHERE project_id = ANY ($1::text[]);

-- name: rows_runs
-- sealed: runs(thread_id, run_id): body, patches
SELECT * FROM runs WHERE thread_id = ANY ($1::text[]);

-- name: delete_runs
DELETE FROM runs USING unnest($1::text[], $2::text[]) AS old (thread_id, run_id)
WHERE runs.thread_id = old.thread_id AND runs.run_id = old.run_id;

-- name: rows_steps
-- sealed: steps(thread_id, step_id): body, patches
SELECT * FROM steps WHERE thread_id = ANY ($1::text[]);

-- name: delete_steps
DELETE FROM steps USING unnest($1::text[], $2::text[]) AS old (thread_id, step_id)
WHERE steps.thread_id = old.thread_id AND steps.step_id = old.step_id;

-- name: rows_thread_attachments
SELECT * FROM thread_attachments WHERE thread_id = ANY ($1::text[]);

-- name: delete_thread_attachments
DELETE FROM thread_attachments USING unnest($1::text[], $2::bigint[]) AS old (thread_id, position)
WHERE thread_attachments.thread_id = old.thread_id AND thread_attachments.position = old.position;

-- name: rows_threads
-- sealed: threads(thread_id): body, patches
SELECT * FROM threads WHERE thread_id = ANY ($1::text[]);

-- name: delete_threads
DELETE FROM threads WHERE thread_id = ANY ($1::text[]);

-- name: rows_upload_parts
-- sealed: upload_parts(upload_id, part_id): body
SELECT * FROM upload_parts WHERE upload_id = ANY ($1::text[]);

-- name: delete_upload_parts
DELETE FROM upload_parts USING unnest($1::text[], $2::text[]) AS old (upload_id, part_id)
WHERE upload_parts.upload_id = old.upload_id AND upload_parts.part_id = old.part_id;

-- name: rows_uploads
-- sealed: uploads(upload_id): body
SELECT * FROM uploads WHERE upload_id = ANY ($1::text[]);

-- name: delete_uploads
DELETE FROM uploads WHERE upload_id = ANY ($1::text[]);

-- name: rows_vector_store_batches
SELECT * FROM vector_store_batches WHERE store_id = ANY ($1::text[]);

-- name: delete_vector_store_batches
DELETE FROM vector_store_batches USING unnest($1::text[], $2::text[]) AS old (store_id, batch_id)
WHERE vector_store_batches.store_id = old.store_id AND vector_store_batches.batch_id = old.batch_id;

-- name: rows_vector_store_files
-- sealed: vector_store_files(store_id, file_id): body, last_error
SELECT * FROM vector_store_files WHERE store_id = ANY ($1::text[]);

-- name: delete_vector_store_files
DELETE FROM vector_store_files USING unnest($1::text[], $2::text[]) AS old (store_id, file_id)
WHERE vector_store_files.store_id = old.store_id AND vector_store_files.file_id = old.file_id;

-- name: rows_vector_stores
-- sealed: vector_stores(store_id): body, patches
SELECT * FROM vector_stores WHERE store_id = ANY ($1::text[]);

-- name: delete_vector_stores
DELETE FROM vector_stores WHERE store_id = ANY ($1::text[]);

-- name: rows_webhook_endpoints
-- sealed: webhook_endpoints(endpoint_id): body, patches
SELECT * FROM webhook_endpoints WHERE endpoint_id = ANY ($1::text[]);

-- name: delete_webhook_endpoints
DELETE FROM webhook_endpoints WHERE endpoint_id = ANY ($1::text[]);
