-- The clients of requests (docs/log-format.md). The events of a request hold a commitment to its row, which is deleted
-- in time. `content` is a salt of 32 bytes and JSON.
CREATE TABLE request_clients (
    request_id text        PRIMARY KEY,
    at         timestamptz NOT NULL,
    content    bytea       NOT NULL
);
CREATE INDEX request_clients_by_time ON request_clients (at);

-- The leaves of events under algorithm 2 cover it.
ALTER TABLE events ADD COLUMN client bytea;
