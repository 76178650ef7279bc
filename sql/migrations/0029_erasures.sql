-- The streams whose object was deleted, and how far their data are erased (docs/encryption.md). The servers follow the
-- log and add rows; no append writes them. Up to `erased_version`, the contents of the stream's events are encrypted under
-- a key that was destroyed. `cleared_at` is the time from which no copy of the data is left outside the events, `due_at`
-- that of the next attempt. `log_index` is the index of the event that deleted the object, in version `version`.
CREATE TABLE erasures (
    stream_id      text        PRIMARY KEY,
    kind           text        NOT NULL,
    project_id     text        NOT NULL,
    version        bigint      NOT NULL,
    log_index      bigint      NOT NULL,
    deleted_at     timestamptz NOT NULL,
    due_at         timestamptz NOT NULL DEFAULT now(),
    cleared_at     timestamptz,
    erased_at      timestamptz,
    erased_version bigint      NOT NULL DEFAULT 0
);
CREATE INDEX erasures_to_clear ON erasures (due_at) WHERE cleared_at IS NULL;
CREATE INDEX erasures_to_complete ON erasures (due_at) WHERE cleared_at IS NOT NULL AND erased_at IS NULL;

-- The index of the log up to which the rows are complete, as in usage_progress. Earlier versions did not note the files
-- of code_interpreter that clients attached: those that were created up to `since` are never deleted with their threads. In
-- a database that has streams it is an hour after the migration, for clocks that differ and for servers of the earlier
-- version that still run.
CREATE TABLE erasure_progress (
    id         smallint    PRIMARY KEY,
    epoch      integer     NOT NULL,
    next_index bigint      NOT NULL,
    since      timestamptz NOT NULL
);
INSERT INTO erasure_progress (id, epoch, next_index, since)
SELECT 1, 0, 0, CASE WHEN EXISTS (SELECT FROM streams) THEN now() + interval '1 hour' ELSE '-infinity' END;

-- The files of code_interpreter that a client has attached to an object: they stay if the thread of the code is deleted.
CREATE TABLE attached_code_files (
    file_id text PRIMARY KEY
);

-- The stored answers of the requests that changed a stream are found by their seeds.
CREATE INDEX idempotency_keys_by_seed ON idempotency_keys (seed);
