-- The log. One row an event; (stream_id, version) is gapless, so the key itself is the concurrency control.
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

-- A stream's head: its version and folded state. The row that every append moves, guarded by the version it expects.
CREATE TABLE streams (
    stream_id    text        PRIMARY KEY,
    kind         text        NOT NULL,
    project_id   text        NOT NULL,
    version      bigint      NOT NULL,
    at           timestamptz NOT NULL,
    state_schema integer     NOT NULL,
    state        bytea       NOT NULL
) WITH (fillfactor = 70);

-- The log as people read it.
CREATE VIEW events_readable AS
SELECT stream_id, version, type, at, project_id, actor, request_id, cause, convert_from(content, 'UTF8')::json AS content
FROM events;

-- Views. `body` is the object as it was created (json keeps the order of its keys), `progress` what has changed since.
-- Deleted rows keep their place, so that they stay good as cursors, and lose their text.
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

CREATE TABLE messages (
    thread_id  text    NOT NULL,
    message_id text    NOT NULL,
    project_id text    NOT NULL,
    position   bigint  NOT NULL,
    run_id     text,
    deleted    boolean NOT NULL DEFAULT false,
    body       json    NOT NULL,
    PRIMARY KEY (thread_id, message_id)
);
CREATE UNIQUE INDEX messages_in_order ON messages (thread_id, position);
CREATE INDEX messages_of_runs ON messages (thread_id, run_id, position) WHERE run_id IS NOT NULL;

CREATE TABLE runs (
    thread_id  text    NOT NULL,
    run_id     text    NOT NULL,
    project_id text    NOT NULL,
    position   bigint  NOT NULL,
    status     text    NOT NULL,
    expires_at bigint  NOT NULL,
    process    integer,
    body       json    NOT NULL,
    progress   jsonb   NOT NULL DEFAULT '{}',
    PRIMARY KEY (thread_id, run_id)
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX runs_in_order ON runs (thread_id, position);
-- What supervisors scan: a thread has at most one such run.
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
