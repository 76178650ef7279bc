-- Statements of other parties about kept checkpoints. `data` is a signature line of a witness (C2SP tlog-cosignature), or
-- the response of a time stamp authority (RFC 3161, DER), by `kind`: `witness` or `time_stamp`. `attester` is the key of
-- the witness (a vkey) or the URL of the authority. `at` is the time in the statement.
CREATE TABLE log_attestations (
    epoch    integer     NOT NULL,
    size     bigint      NOT NULL,
    attester text        NOT NULL,
    kind     text        NOT NULL,
    at       timestamptz NOT NULL,
    data     bytea       NOT NULL,
    PRIMARY KEY (epoch, size, attester)
);

-- The requests to these parties: `size` is that of the newest checkpoint that it attested. One process
-- asks it, and no other one until `next_at`. `problem` is the last failure, after `failures` in a row; `is_serious` if
-- the party contradicts the log. `waiting_since` is null if it has attested the newest kept checkpoint.
CREATE TABLE log_attesters (
    epoch         integer     NOT NULL,
    attester      text        NOT NULL,
    size          bigint      NOT NULL DEFAULT 0,
    next_at       timestamptz NOT NULL,
    waiting_since timestamptz,
    failures      integer     NOT NULL DEFAULT 0,
    problem       text,
    is_serious    boolean     NOT NULL DEFAULT false,
    PRIMARY KEY (epoch, attester)
) WITH (fillfactor = 50);
