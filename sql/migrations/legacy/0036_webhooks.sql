-- Webhook endpoints: a view of their streams. `types` are those of the events that they hear of.
CREATE TABLE webhook_endpoints (
    endpoint_id text        PRIMARY KEY,
    project_id  text        NOT NULL,
    created_at  timestamptz NOT NULL,
    enabled     boolean     NOT NULL,
    types       text[]      NOT NULL,
    body        json        NOT NULL
);
CREATE INDEX webhook_endpoints_in_order ON webhook_endpoints (project_id, created_at, endpoint_id);

-- What no event brings, so that no rebuild touches it: the secret, which process delivers, and how it goes.
CREATE TABLE webhook_work (
    endpoint_id   text        PRIMARY KEY,
    secret        text        NOT NULL,
    made_at       timestamptz NOT NULL DEFAULT now(),
    process       integer,
    rests_until   timestamptz NOT NULL DEFAULT now(),
    failures      integer     NOT NULL DEFAULT 0,
    failing_since timestamptz,
    delivered_at  timestamptz,
    last_error    text
) WITH (fillfactor = 70);

-- The outbox: a row for each event and endpoint, written by the statement that appends the event (store.sql).
CREATE TABLE webhook_deliveries (
    endpoint_id text        NOT NULL,
    stream_id   text        NOT NULL,
    version     bigint      NOT NULL,
    attempts    integer     NOT NULL DEFAULT 0,
    due_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (endpoint_id, stream_id, version)
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (endpoint_id, due_at);
