-- How far `everthread rebuild` has come, by the views that it rebuilds, in order of their names: all streams up to
-- `last_stream_id` are done. The row is deleted when the rebuild is complete.
CREATE TABLE view_rebuilds (
    views          text[]      PRIMARY KEY,
    last_stream_id text        NOT NULL,
    noted_at       timestamptz NOT NULL
);
