-- How long the threads of a project are kept (docs/retention.md). The acts are events of the installation's stream, and
-- each row is written in the transaction of its event. Null: the rule does not apply.
CREATE TABLE retention_policies (
    project_id text        PRIMARY KEY,
    idle_days  integer,
    keep_days  integer,
    set_at     timestamptz NOT NULL
);

-- Legal holds. One covers the thread `thread_id`, or the threads of the project that have all pairs of `metadata`, or all
-- threads of the project if both are null.
CREATE TABLE legal_holds (
    hold_id    text        PRIMARY KEY,
    project_id text        NOT NULL,
    thread_id  text,
    metadata   jsonb,
    reason     text        NOT NULL,
    placed_at  timestamptz NOT NULL,
    ended_at   timestamptz
);
CREATE INDEX legal_holds_active ON legal_holds (project_id) WHERE ended_at IS NULL;

-- One row: the time of the next look for idle threads. The process that moves it does the work.
CREATE TABLE retention_progress (
    id     smallint    PRIMARY KEY,
    due_at timestamptz NOT NULL
);
INSERT INTO retention_progress (id, due_at) VALUES (1, now());

-- The data of a deleted object are erased after its deletion, in version `version`, was released: no hold and no keep
-- time forbids it then. A row whose object was deleted again needs another release.
ALTER TABLE erasures ADD COLUMN released_version bigint NOT NULL DEFAULT 0;
UPDATE erasures SET released_version = version WHERE cleared_at IS NOT NULL;
CREATE INDEX erasures_to_release ON erasures (due_at) WHERE released_version < version;
