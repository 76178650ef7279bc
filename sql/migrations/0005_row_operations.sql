-- Bodies as bytes that no statement looks into. Later changes of an object are patches, folded when it is read; what
-- queries need is a column. All views are rebuilt from the log, since a body that was changed in place does not say how.

INSERT INTO pending_rebuilds (stream_id)
SELECT stream_id FROM streams
WHERE kind IN ('assistant', 'file', 'thread', 'upload', 'vector_store', 'webhook_endpoint')
ON CONFLICT DO NOTHING;

TRUNCATE assistants, files, messages, metadata_pairs, runs, steps, threads, upload_parts, uploads, vector_store_batches,
    vector_store_files, vector_stores, webhook_endpoints;

ALTER TABLE assistants
    ALTER body TYPE bytea USING '',
    ADD COLUMN patches bytea[] NOT NULL DEFAULT '{}';
ALTER TABLE threads
    ALTER body TYPE bytea USING '',
    ADD COLUMN patches bytea[] NOT NULL DEFAULT '{}';
ALTER TABLE messages
    ALTER body TYPE bytea USING '',
    ADD COLUMN patches bytea[] NOT NULL DEFAULT '{}';
-- `promised` are the ids of the messages and steps that the run's model calls may write: a stream has shown them.
ALTER TABLE runs
    ALTER body TYPE bytea USING '',
    DROP COLUMN progress,
    ADD COLUMN patches bytea[] NOT NULL DEFAULT '{}',
    ADD COLUMN promised text[] NOT NULL DEFAULT '{}';
ALTER TABLE steps
    ALTER body TYPE bytea USING '',
    DROP COLUMN progress,
    ADD COLUMN kind text NOT NULL,
    ADD COLUMN patches bytea[] NOT NULL DEFAULT '{}';
ALTER TABLE files
    ALTER body TYPE bytea USING '',
    ADD COLUMN bytes bigint NOT NULL DEFAULT 0;
ALTER TABLE uploads ALTER body TYPE bytea USING '';
ALTER TABLE upload_parts ALTER body TYPE bytea USING '';
-- `expires_after` is in days after `last_active_at`; `expires_at` follows from both, null if the store is expired.
ALTER TABLE vector_stores
    ALTER body TYPE bytea USING '',
    DROP COLUMN progress,
    ADD COLUMN patches bytea[] NOT NULL DEFAULT '{}',
    ADD COLUMN last_active_at bigint NOT NULL,
    ADD COLUMN expires_after integer,
    ADD COLUMN expired boolean NOT NULL DEFAULT false;
ALTER TABLE vector_store_files
    ALTER body TYPE bytea USING '',
    ALTER last_error TYPE bytea USING '';
ALTER TABLE webhook_endpoints
    ALTER body TYPE bytea USING '',
    ADD COLUMN patches bytea[] NOT NULL DEFAULT '{}';
