-- Projects and their keys. A key is found by its sha256; the key itself is nowhere.
CREATE TABLE projects (
    project_id text        PRIMARY KEY,
    created_at timestamptz NOT NULL,
    name       text        NOT NULL
);
CREATE INDEX projects_by_name ON projects (name);

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

-- When keys were last used: no event brings it, so it has a table of its own, which no rebuild touches.
CREATE TABLE key_uses (
    key_id       text        PRIMARY KEY,
    last_used_at timestamptz NOT NULL
) WITH (fillfactor = 70);
