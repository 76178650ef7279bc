-- What Idempotency-Keys were used for. `token` is the sha256 of project, API key and the key sent; `seed` what the ids of
-- the request's objects follow from. A row without `process` and `status` is free for the next request to take;
-- `request` and `body` are digests of what was asked, and null where nothing came of it.
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

-- The appends made under a seed, each written in the append's own transaction: whoever asks again gets these events.
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
