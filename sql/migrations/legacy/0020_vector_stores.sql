-- Vector stores, their files and file batches. `body` is the object as it was made, `progress` what has changed since;
-- counters have columns of their own, because other events move them. Deleted rows keep their place, as cursors.
CREATE TABLE vector_stores (
    store_id        text        PRIMARY KEY,
    project_id      text        NOT NULL,
    created_at      timestamptz NOT NULL,
    deleted         boolean     NOT NULL DEFAULT false,
    expires_at      bigint,
    embedding_model text        NOT NULL,
    in_progress     integer     NOT NULL DEFAULT 0,
    completed       integer     NOT NULL DEFAULT 0,
    failed          integer     NOT NULL DEFAULT 0,
    cancelled       integer     NOT NULL DEFAULT 0,
    usage_bytes     bigint      NOT NULL DEFAULT 0,
    body            json        NOT NULL,
    progress        jsonb       NOT NULL DEFAULT '{}'
) WITH (fillfactor = 70);
CREATE INDEX vector_stores_in_order ON vector_stores (project_id, created_at, store_id);
CREATE INDEX vector_stores_expiring ON vector_stores (expires_at) WHERE NOT deleted AND expires_at IS NOT NULL;
-- What the indexing supervisors scan.
CREATE INDEX vector_stores_at_work ON vector_stores (store_id) WHERE in_progress > 0;

-- `job` numbers the attempt that is at work on the file, or whose chunks are the file's (service/vectors/base.py);
-- `position` is the file's place in its store. Status: in_progress, completed, failed, cancelled; removed is gone.
CREATE TABLE vector_store_files (
    store_id    text    NOT NULL,
    file_id     text    NOT NULL,
    project_id  text    NOT NULL,
    position    bigint  NOT NULL,
    batch_id    text,
    filename    text    NOT NULL,
    status      text    NOT NULL,
    job         bigint,
    process     integer,
    attempt     integer NOT NULL DEFAULT 0,
    deadline    bigint,
    usage_bytes bigint  NOT NULL DEFAULT 0,
    attributes  jsonb   NOT NULL DEFAULT '{}',
    body        json    NOT NULL,
    last_error  json,
    PRIMARY KEY (store_id, file_id)
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX vector_store_files_in_order ON vector_store_files (store_id, position);
CREATE INDEX vector_store_files_of_batches ON vector_store_files (store_id, batch_id, position)
    WHERE batch_id IS NOT NULL;
CREATE INDEX vector_store_files_by_file ON vector_store_files (file_id) WHERE status <> 'removed';
CREATE INDEX vector_store_files_at_work ON vector_store_files (store_id, position) WHERE status = 'in_progress';
CREATE INDEX vector_store_files_started ON vector_store_files (deadline)
    WHERE status = 'in_progress' AND process IS NOT NULL;

CREATE TABLE vector_store_batches (
    store_id    text    NOT NULL,
    batch_id    text    NOT NULL,
    project_id  text    NOT NULL,
    created_at  bigint  NOT NULL,
    is_cancelled boolean NOT NULL DEFAULT false,
    in_progress integer NOT NULL,
    completed   integer NOT NULL DEFAULT 0,
    failed      integer NOT NULL DEFAULT 0,
    cancelled   integer NOT NULL DEFAULT 0,
    PRIMARY KEY (store_id, batch_id)
) WITH (fillfactor = 70);
