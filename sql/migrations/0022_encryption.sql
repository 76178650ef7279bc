-- Encryption of text of clients (docs/encryption.md). The newest epoch has the key-encryption key that wraps new data
-- keys; `key_id` is the id of that key, which is outside the database. Without an epoch, nothing is encrypted.
CREATE TABLE encryption_epochs (
    epoch    integer     PRIMARY KEY,
    key_id   text        NOT NULL,
    began_at timestamptz NOT NULL DEFAULT now()
);

-- The data key of each stream, `wrapped` by the key-encryption key of an epoch. Without its row, what the stream's key
-- has encrypted cannot be read. `key_id` is in hexadecimal digits, as in `events.key_id`, which is null if the content of
-- an event is plain.
CREATE TABLE stream_keys (
    stream_id text    PRIMARY KEY,
    key_id    text    NOT NULL,
    epoch     integer NOT NULL,
    wrapped   bytea   NOT NULL
);
CREATE INDEX stream_keys_by_epoch ON stream_keys (epoch);

-- The content of an encrypted event is null here: `everthread events` shows it.
CREATE OR REPLACE VIEW events_readable AS
SELECT stream_id, version, type, at, project_id, actor, request_id, cause,
    CASE WHEN key_id IS NULL THEN convert_from(substr(content, 33), 'UTF8')::json END AS content
FROM events;
