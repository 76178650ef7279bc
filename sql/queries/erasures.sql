-- name: lock (the progress; no row if another process works on it)
SELECT epoch, next_index, (SELECT max(epoch) FROM log_epochs) AS current_epoch
FROM erasure_progress
FOR UPDATE SKIP LOCKED;

-- name: move
UPDATE erasure_progress SET epoch = $1, next_index = $2;

-- name: next_ranges (of the log, up to $2 from index $1 on: their number, and the index behind them, null if there are none)
SELECT count(*) AS count, max(end_index) AS next_index FROM (
    SELECT first_index + count AS end_index FROM log_ranges WHERE first_index >= $1 ORDER BY first_index LIMIT $2
) AS ranges;

-- name: deletions
-- The streams whose object an event of the types $3 deleted, in the ranges of the log from index $1 until before $2, the
-- last deletion of each.
SELECT DISTINCT ON (events.stream_id) events.stream_id, split_part(type, '.', 1) AS kind, events.project_id, version,
    first_index + version - first_version AS log_index, events.at
FROM log_ranges AS ranges
JOIN events ON events.stream_id = ranges.stream_id AND version >= first_version AND version < first_version + count
WHERE first_index >= $1 AND first_index < $2 AND types && $3::text[] AND type = ANY ($3)
ORDER BY events.stream_id, version DESC;

-- name: add
INSERT INTO erasures (stream_id, kind, project_id, version, log_index, deleted_at)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::timestamptz[])
ON CONFLICT (stream_id) DO UPDATE SET
    version = excluded.version, log_index = excluded.log_index, deleted_at = excluded.deleted_at,
    due_at = now(), cleared_at = NULL, erased_at = NULL
WHERE erasures.version < excluded.version;

-- name: add_now (streams that are deleted, of a list from outside the database: their erasure was released before)
INSERT INTO erasures (stream_id, kind, project_id, version, log_index, deleted_at, released_version)
SELECT stream_id, kind, project_id, version, -1, at, version FROM streams WHERE stream_id = ANY ($1::text[])
ON CONFLICT (stream_id) DO UPDATE SET
    version = excluded.version, log_index = excluded.log_index, deleted_at = excluded.deleted_at,
    released_version = excluded.released_version, due_at = now(), cleared_at = NULL, erased_at = NULL;

-- name: reported_index (up to which the reports of usage and of runs, and the index of words, have read the log)
SELECT least(
    (SELECT next_index FROM usage_progress), (SELECT next_index FROM run_outcome_progress),
    (SELECT next_index FROM thread_word_progress)
);

-- name: claim_uncleared (at most $1, for $2 seconds: then another process may try; a declared fan-out, of the eraser)
-- The reports, which have read the log up to index $3, read the events first.
UPDATE erasures SET due_at = now() + $2 * interval '1 s'
WHERE stream_id IN (
    SELECT stream_id FROM erasures
    WHERE cleared_at IS NULL AND due_at <= now() AND released_version >= version
        AND log_index < $3
    ORDER BY due_at
    LIMIT $1
    FOR UPDATE SKIP LOCKED
)
RETURNING stream_id, kind, project_id, version, deleted_at;

-- name: claim_unerased (cleared streams that have a key and no plain event; otherwise as `claim_uncleared`)
UPDATE erasures SET due_at = now() + $2 * interval '1 s'
WHERE stream_id IN (
    SELECT stream_id FROM erasures
    WHERE cleared_at IS NOT NULL AND erased_at IS NULL AND due_at <= now() AND released_version >= version
        AND EXISTS (SELECT FROM stream_keys WHERE stream_keys.stream_id = erasures.stream_id)
        AND NOT EXISTS (
            SELECT FROM events
            WHERE events.stream_id = erasures.stream_id AND key_id IS NULL AND events.version > erased_version
        )
    ORDER BY due_at
    LIMIT $1
    FOR UPDATE SKIP LOCKED
)
RETURNING stream_id, kind, project_id, version, deleted_at,
    (SELECT key_id FROM stream_keys WHERE stream_keys.stream_id = erasures.stream_id) AS key_id;

-- name: mark_cleared (if the object was not created and deleted again meanwhile)
UPDATE erasures SET cleared_at = now(), due_at = now() WHERE stream_id = $1 AND version = $2;

-- name: drop (the object of this stream exists again)
DELETE FROM erasures WHERE stream_id = $1 AND version = $2 AND erased_version = 0;

-- name: complete (the same, after an earlier erasure: readers need to know up to which version its events are erased)
UPDATE erasures SET cleared_at = now(), erased_at = now() WHERE stream_id = $1 AND version = $2 AND erased_version > 0;

-- name: exists_again (the stream has a later event that created its object)
SELECT EXISTS (SELECT FROM events WHERE stream_id = $1 AND version > $2 AND type = $3);

-- name: hold
-- Locks the head of a stream and moves its fence, so that no append goes on that was encrypted under its key.
-- sealed: streams($1, version): state
UPDATE streams SET fence = fence + 1, view_epoch = $2 WHERE stream_id = $1 RETURNING version, state;

-- name: write_state (of a deleted object, which has no text)
UPDATE streams SET state = $2 WHERE stream_id = $1;

-- name: destroy_key
DELETE FROM stream_keys WHERE stream_id = $1 AND key_id = $2;

-- name: mark_erased
UPDATE erasures SET erased_at = now(), erased_version = $2, due_at = now() WHERE stream_id = $1;

-- name: erased_version
SELECT erased_version FROM erasures WHERE stream_id = $1;

-- name: answer_missing (requests that changed stream $1: those that repeat them get status 404)
UPDATE idempotency_keys
SET process = NULL, claimed_at = now(), status = 404, headers = '{"Content-Type": "application/json; charset=utf-8"}',
    content = $2, sealed_headers = NULL
WHERE seed IN (SELECT seed FROM idempotency_effects WHERE stream_id = $1);

-- name: forget_effects
DELETE FROM idempotency_effects WHERE stream_id = $1;

-- name: drop_deliveries
DELETE FROM webhook_deliveries
WHERE endpoint_id IN (SELECT endpoint_id FROM webhook_endpoints) AND stream_id = $1;

-- name: drop_deltas
DELETE FROM live_deltas WHERE thread_id = $1;

-- name: own_files (of the ids $1, those that code_interpreter made and no client attached to another object)
-- Files from before the uses of such files were noted may be attached.
SELECT events.stream_id, events.project_id
FROM events
WHERE events.stream_id = ANY ($1::text[]) AND version = 1 AND type = 'file.created' AND actor = 'tool:code_interpreter'
    AND events.at > (SELECT since FROM erasure_progress)
    AND NOT EXISTS (SELECT FROM attached_code_files WHERE file_id = events.stream_id)
    AND NOT EXISTS (
        SELECT FROM vector_store_files WHERE vector_store_files.file_id = events.stream_id AND status <> 'removed'
    );

-- name: attach_code_files
INSERT INTO attached_code_files (file_id) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING;

-- name: existing_threads (of these)
SELECT thread_id FROM threads WHERE thread_id = ANY ($1::text[]);

-- name: find_with_keys (the streams $1 whose keys have the ids $2)
SELECT streams.stream_id AS id, kind, project_id
FROM unnest($1::text[], $2::text[]) AS wanted (stream_id, key_id)
JOIN stream_keys ON stream_keys.stream_id = wanted.stream_id AND stream_keys.key_id = wanted.key_id
JOIN streams ON streams.stream_id = wanted.stream_id;

-- name: events (that say which streams were erased, in the installation's stream $1)
-- sealed: events($1, version): content
SELECT version, at, actor, content, schema_version FROM events
WHERE stream_id = $1 AND type = 'streams.erased'
ORDER BY version;

-- name: key_id (of the stream's key; no row if it has none)
SELECT key_id FROM stream_keys WHERE stream_id = $1;
