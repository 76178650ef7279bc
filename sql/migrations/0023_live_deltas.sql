-- The deltas of open calls, for watchers on other processes: written every 100 ms while somebody watches elsewhere, and
-- deleted when the call closes. Their loss in a crash of Postgres costs nothing, so they are not logged.
CREATE UNLOGGED TABLE live_deltas (
    thread_id text    NOT NULL,
    id        bigint  GENERATED ALWAYS AS IDENTITY,
    process   integer NOT NULL,
    call      bigint  NOT NULL,
    is_start  boolean NOT NULL,
    deltas    bytea   NOT NULL,
    PRIMARY KEY (thread_id, id)
);
