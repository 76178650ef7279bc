-- What links and stream tokens are signed with, the same for all processes. A new one is made every month; the old ones
-- stay as long as what they signed may be good. Deleting the rows makes all of it useless within a minute.
CREATE TABLE signing_keys (
    key_id     text        PRIMARY KEY,
    secret     bytea       NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX signing_keys_by_age ON signing_keys (created_at);
