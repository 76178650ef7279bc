-- The schema of version 0.2.0. It replaces the thirteen files in legacy/, which bring an older database to this
-- schema.

CREATE EXTENSION IF NOT EXISTS vector;

-- The log: one row per event. The versions of a stream have no gaps, so the primary key is also the concurrency
-- control.
CREATE TABLE events (
    stream_id        text        NOT NULL,
    version          bigint      NOT NULL,
    type             text        NOT NULL,
    at               timestamptz NOT NULL,
    project_id       text        NOT NULL,
    actor            text        NOT NULL,
    request_id       text,
    cause            text,
    schema_version   integer     NOT NULL,
    software_version text        NOT NULL,
    xid              xid8        NOT NULL DEFAULT pg_current_xact_id(),
    content          bytea       NOT NULL,
    PRIMARY KEY (stream_id, version)
);

-- The head of a stream: its version and its folded state. Every append updates this row if the version is as
-- expected.
CREATE TABLE streams (
    stream_id    text        PRIMARY KEY,
    kind         text        NOT NULL,
    project_id   text        NOT NULL,
    version      bigint      NOT NULL,
    at           timestamptz NOT NULL,
    state_schema integer     NOT NULL,
    state        bytea       NOT NULL
) WITH (fillfactor = 70);

-- The log for people: the content of the events as JSON.
CREATE VIEW events_readable AS
SELECT stream_id, version, type, at, project_id, actor, request_id, cause, convert_from(content, 'UTF8')::json AS content
FROM events;

-- Views of the log. `body` is the object as it was created (the type json keeps the order of its keys), `progress`
-- holds the fields that have changed since. The row of a deleted object stays, so that its id works as a cursor of a
-- list, and loses its text.
CREATE TABLE assistants (
    assistant_id text        PRIMARY KEY,
    project_id   text        NOT NULL,
    created_at   timestamptz NOT NULL,
    deleted      boolean     NOT NULL DEFAULT false,
    body         json        NOT NULL
);
CREATE INDEX assistants_in_order ON assistants (project_id, created_at, assistant_id);

CREATE TABLE threads (
    thread_id  text        PRIMARY KEY,
    project_id text        NOT NULL,
    created_at timestamptz NOT NULL,
    body       json        NOT NULL
);
CREATE INDEX threads_in_order ON threads (project_id, created_at, thread_id);

-- `place` is the message's position in prompts: a message that a run wrote stands at the position of the run, in
-- front of the messages that clients added during the run. If `place` is null, it is `position`.
CREATE TABLE messages (
    thread_id  text    NOT NULL,
    message_id text    NOT NULL,
    project_id text    NOT NULL,
    position   bigint  NOT NULL,
    run_id     text,
    deleted    boolean NOT NULL DEFAULT false,
    body       json    NOT NULL,
    place      bigint,
    PRIMARY KEY (thread_id, message_id)
);
CREATE UNIQUE INDEX messages_in_order ON messages (thread_id, position);
CREATE INDEX messages_of_runs ON messages (thread_id, run_id, position) WHERE run_id IS NOT NULL;
CREATE INDEX messages_in_prompts ON messages (thread_id, COALESCE(place, position), position);

-- A run that waits behind another run of its thread has no `expires_at` yet. `process` is the process that works on
-- it.
CREATE TABLE runs (
    thread_id  text    NOT NULL,
    run_id     text    NOT NULL,
    project_id text    NOT NULL,
    position   bigint  NOT NULL,
    status     text    NOT NULL,
    expires_at bigint,
    process    integer,
    body       json    NOT NULL,
    progress   jsonb   NOT NULL DEFAULT '{}',
    PRIMARY KEY (thread_id, run_id)
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX runs_in_order ON runs (thread_id, position);
-- The runs that supervisors scan. A thread has at most one such run that does not wait.
CREATE INDEX runs_active ON runs (expires_at)
    WHERE status IN ('queued', 'in_progress', 'requires_action', 'cancelling');
CREATE INDEX runs_at_work ON runs (process)
    WHERE status IN ('queued', 'in_progress', 'cancelling');

CREATE TABLE steps (
    thread_id  text   NOT NULL,
    step_id    text   NOT NULL,
    project_id text   NOT NULL,
    position   bigint NOT NULL,
    run_id     text   NOT NULL,
    body       json   NOT NULL,
    progress   jsonb  NOT NULL DEFAULT '{}',
    PRIMARY KEY (thread_id, step_id)
);
CREATE UNIQUE INDEX steps_in_order ON steps (thread_id, position);
CREATE INDEX steps_of_runs ON steps (thread_id, run_id, position);

-- The metadata of threads and assistants, for filters: one row per pair. `pair` is the sha256 of key, NUL and value,
-- so that an index row has a fixed length. `together` holds the first 16 bytes of every pair of the same object,
-- sorted: a filter of several pairs skips an object that lacks one of them without reading the object's other rows.
CREATE TABLE metadata_pairs (
    stream_id  text        NOT NULL,
    pair       bytea       NOT NULL,
    kind       text        NOT NULL,
    project_id text        NOT NULL,
    created_at timestamptz NOT NULL,
    together   uuid[]      NOT NULL DEFAULT '{}',
    PRIMARY KEY (stream_id, pair)
);
CREATE INDEX metadata_pairs_in_order ON metadata_pairs (project_id, kind, pair, created_at, stream_id)
    INCLUDE (together);

-- The row of a deleted or expired file stays, as a cursor, and loses `blob`: no object owns those bytes any more.
CREATE TABLE files (
    file_id    text        PRIMARY KEY,
    project_id text        NOT NULL,
    created_at timestamptz NOT NULL,
    purpose    text        NOT NULL,
    expires_at bigint,
    blob       text UNIQUE,
    body       json        NOT NULL
);
CREATE INDEX files_in_order ON files (project_id, created_at, file_id);
CREATE INDEX files_expiring ON files (expires_at) WHERE blob IS NOT NULL AND expires_at IS NOT NULL;

-- `makes` is the id of the file that the upload creates: an attempt to complete it that did not end may leave that
-- file behind after the upload was cancelled or has expired.
CREATE TABLE uploads (
    upload_id  text   PRIMARY KEY,
    project_id text   NOT NULL,
    status     text   NOT NULL,
    expires_at bigint NOT NULL,
    file_id    text,
    body       json   NOT NULL,
    makes      text
);
CREATE INDEX uploads_pending ON uploads (expires_at) WHERE status = 'pending';
CREATE INDEX uploads_unfinished ON uploads (makes) WHERE status IN ('cancelled', 'expired');

-- The parts of pending uploads. The rows are deleted when the upload ends; without a row, a part's bytes are deleted
-- too.
CREATE TABLE upload_parts (
    upload_id  text NOT NULL,
    part_id    text NOT NULL,
    body       json NOT NULL,
    PRIMARY KEY (upload_id, part_id)
);
CREATE UNIQUE INDEX upload_parts_blob ON upload_parts (part_id);

CREATE TABLE projects (
    project_id text        PRIMARY KEY,
    created_at timestamptz NOT NULL,
    name       text        NOT NULL
);
CREATE INDEX projects_by_name ON projects (name);

-- `hash` is the sha256 of the key. The key itself is not stored.
CREATE TABLE api_keys (
    key_id              text        PRIMARY KEY,
    project_id          text        NOT NULL,
    created_at          timestamptz NOT NULL,
    revoked_at          timestamptz,
    name                text        NOT NULL,
    scope               text        NOT NULL,
    hash                bytea       NOT NULL,
    ending              text        NOT NULL,
    requests_per_minute integer,
    tokens_per_minute   integer,
    max_runs            integer
);
CREATE UNIQUE INDEX api_keys_by_hash ON api_keys (hash);

-- The time at which each key was last used. It is not in the log, so it is not in api_keys, which a rebuild rewrites.
CREATE TABLE key_uses (
    key_id       text        PRIMARY KEY,
    last_used_at timestamptz NOT NULL
) WITH (fillfactor = 70);

-- The counters of vector stores and batches are columns, not in `progress`, because events about files change them.
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
-- The stores that the indexing supervisors scan.
CREATE INDEX vector_stores_at_work ON vector_stores (store_id) WHERE in_progress > 0;

-- `job` is the number of the attempt that works on the file, or that made the file's chunks (service/search/base.py).
-- `position` is the file's position in its store. `status` is in_progress, completed, failed, cancelled or removed.
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
    store_id     text    NOT NULL,
    batch_id     text    NOT NULL,
    project_id   text    NOT NULL,
    created_at   bigint  NOT NULL,
    is_cancelled boolean NOT NULL DEFAULT false,
    in_progress  integer NOT NULL,
    completed    integer NOT NULL DEFAULT 0,
    failed       integer NOT NULL DEFAULT 0,
    cancelled    integer NOT NULL DEFAULT 0,
    PRIMARY KEY (store_id, batch_id)
) WITH (fillfactor = 70);

-- The search index: the chunks of files, their words and their vectors. It is not in the log, because it can be made
-- from the files' bytes. Every table leads with the store, and every row names the job that made it
-- (vector_store_files.job).

-- `start` is the chunk's offset in the file's text, in characters; `cuts` are the offsets of its windows in the
-- chunk. The store's id is one of its words, so that the index intersects a store with a word and never reads other
-- stores' rows.
CREATE TABLE chunks (
    store_id text      NOT NULL,
    file_id  text      NOT NULL,
    job      bigint    NOT NULL,
    chunk    integer   NOT NULL,
    start    integer   NOT NULL,
    page     integer,
    tokens   integer   NOT NULL,
    cuts     integer[] NOT NULL,
    text     text      NOT NULL,
    words    tsvector  GENERATED ALWAYS AS
        (array_to_tsvector(ARRAY [store_id]) || to_tsvector('english'::regconfig, text)) STORED,
    PRIMARY KEY (store_id, file_id, job, chunk)
);
-- fastupdate would keep a list of pending rows that every search has to read through.
CREATE INDEX chunks_words ON chunks USING gin (words) WITH (fastupdate = off);

-- One row per file that has chunks. `words_counted` says whether its words are in chunk_words.
CREATE TABLE chunk_files (
    store_id      text    NOT NULL,
    file_id       text    NOT NULL,
    job           bigint  NOT NULL,
    chunks        integer NOT NULL DEFAULT 0,
    windows       integer NOT NULL DEFAULT 0,
    words_counted boolean NOT NULL DEFAULT false,
    PRIMARY KEY (store_id, file_id, job)
);

-- The number of a store's chunks that contain a word: rare words have a higher weight and are looked up first.
CREATE TABLE chunk_words (
    store_id text   NOT NULL,
    word     text   NOT NULL,
    chunks   bigint NOT NULL,
    PRIMARY KEY (store_id, word)
) WITH (fillfactor = 80);

CREATE TABLE embedding_models (
    model_id   smallint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    name       text     NOT NULL UNIQUE,
    dimensions integer  NOT NULL
);

-- One vector per window, for all chunks that contain the window (neighbouring chunks share windows). Each model has a
-- partition with an index, created with the model's first vector (queries/chunks.sql).
CREATE TABLE vectors (
    store_id    text     NOT NULL,
    file_id     text     NOT NULL,
    job         bigint   NOT NULL,
    number      integer  NOT NULL,
    first_chunk integer  NOT NULL,
    last_chunk  integer  NOT NULL,
    model_id    smallint NOT NULL,
    embedding   vector   NOT NULL,
    PRIMARY KEY (store_id, file_id, job, first_chunk, number, model_id)
) PARTITION BY LIST (model_id);

-- The uses of Idempotency-Keys. `token` is the sha256 of project, API key and the key sent; the ids of the objects
-- that the request creates derive from `seed`. `request` and `body` are digests of the request, null if it had no
-- effect. A row without `process` and `status` can be claimed by the next request.
CREATE TABLE idempotency_keys (
    token      bytea       PRIMARY KEY,
    seed       bytea       NOT NULL,
    created_at timestamptz NOT NULL,
    request    bytea,
    body       bytea,
    process    integer,
    claimed_at timestamptz NOT NULL,
    status     integer,
    headers    json,
    content    bytea
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

-- The appends made under a seed, each written in the transaction of the append. A repeated request returns these
-- events.
CREATE TABLE idempotency_effects (
    stream_id     text        NOT NULL,
    seed          bytea       NOT NULL,
    place         integer     NOT NULL,
    first_version bigint      NOT NULL,
    last_version  bigint      NOT NULL,
    at            timestamptz NOT NULL,
    PRIMARY KEY (stream_id, seed, place)
);
CREATE INDEX idempotency_effects_of ON idempotency_effects (seed);
CREATE INDEX idempotency_effects_by_age ON idempotency_effects (at);

-- The keys that sign links and stream tokens, the same for all processes. A new key is created every month; an old
-- key stays until everything it signed has expired. If the rows are deleted, all signatures become invalid within a
-- minute.
CREATE TABLE signing_keys (
    key_id     text        PRIMARY KEY,
    secret     bytea       NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX signing_keys_by_age ON signing_keys (created_at);

-- `types` are the types of the events that are delivered to the endpoint.
CREATE TABLE webhook_endpoints (
    endpoint_id text        PRIMARY KEY,
    project_id  text        NOT NULL,
    created_at  timestamptz NOT NULL,
    enabled     boolean     NOT NULL,
    types       text[]      NOT NULL,
    body        json        NOT NULL
);
CREATE INDEX webhook_endpoints_in_order ON webhook_endpoints (project_id, created_at, endpoint_id);

-- The part of an endpoint that is not in the log, so that no rebuild changes it: its secrets, the process that
-- delivers, and the outcome of the deliveries. `replaced_secrets` are the secrets that were rotated, newest first,
-- each valid until the time at the same position in `replaced_until`.
CREATE TABLE webhook_work (
    endpoint_id      text          PRIMARY KEY,
    secret           text          NOT NULL,
    made_at          timestamptz   NOT NULL DEFAULT now(),
    process          integer,
    rests_until      timestamptz   NOT NULL DEFAULT now(),
    failures         integer       NOT NULL DEFAULT 0,
    failing_since    timestamptz,
    delivered_at     timestamptz,
    last_error       text,
    replaced_secrets text[]        NOT NULL DEFAULT '{}',
    replaced_until   timestamptz[] NOT NULL DEFAULT '{}'
) WITH (fillfactor = 70);

-- The outbox: one row per event and endpoint, written by the statement that appends the event (queries/store.sql).
CREATE TABLE webhook_deliveries (
    endpoint_id text        NOT NULL,
    stream_id   text        NOT NULL,
    version     bigint      NOT NULL,
    attempts    integer     NOT NULL DEFAULT 0,
    due_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (endpoint_id, stream_id, version)
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (endpoint_id, due_at);
