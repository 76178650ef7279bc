-- The log of the installation (docs/log-format.md): one leaf an event, under gapless indexes. Every append adds a row to
-- log_pending; the sequencer makes a range of indexes of it and deletes it.

-- `leaves` are the leaves of the events that one append added, 32 bytes each, in the order of their versions. `at` never
-- decreases within a stream.
CREATE TABLE log_pending (
    at            timestamptz NOT NULL,
    stream_id     text        NOT NULL,
    first_version bigint      NOT NULL,
    project_id    text        NOT NULL,
    actor         text        NOT NULL,
    request_id    text,
    types         text[]      NOT NULL,
    leaves        bytea       NOT NULL,
    PRIMARY KEY (at, stream_id, first_version)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

-- The events of one append at the indexes first_index, first_index + 1, …. The two keys refuse the second of two
-- sequencers: both would begin at the same index, or with the same events.
CREATE TABLE log_ranges (
    first_index   bigint      PRIMARY KEY,
    count         integer     NOT NULL,
    at            timestamptz NOT NULL,
    stream_id     text        NOT NULL,
    first_version bigint      NOT NULL,
    project_id    text        NOT NULL,
    actor         text        NOT NULL,
    request_id    text,
    types         text[]      NOT NULL,
    leaves        bytea       NOT NULL,
    UNIQUE (stream_id, first_version)
);
CREATE INDEX log_ranges_of_projects ON log_ranges (project_id, first_index);
CREATE INDEX log_ranges_of_actors ON log_ranges (actor, first_index);
CREATE INDEX log_ranges_of_requests ON log_ranges (request_id) WHERE request_id IS NOT NULL;
CREATE INDEX log_ranges_of_types ON log_ranges USING gin (types);
CREATE INDEX log_ranges_by_time ON log_ranges USING brin (at) WITH (pages_per_range = 32, autosummarize = on);

-- Full tiles of the Merkle tree (C2SP tlog-tiles): 256 hashes of 32 bytes. They follow from the ranges.
CREATE TABLE log_tiles (
    level  smallint NOT NULL,
    number bigint   NOT NULL,
    hashes bytea    NOT NULL,
    PRIMARY KEY (level, number)
);
ALTER TABLE log_tiles ALTER hashes SET STORAGE EXTERNAL;

-- An epoch begins with the installation and with every restore. Its tree begins at the index `first_index`, and its
-- checkpoints name `origin`.
CREATE TABLE log_epochs (
    epoch       integer     PRIMARY KEY,
    origin      text        NOT NULL UNIQUE,
    first_index bigint      NOT NULL,
    began_at    timestamptz NOT NULL DEFAULT now()
);
INSERT INTO log_epochs (epoch, origin, first_index)
VALUES (1, 'everthread/' || replace(gen_random_uuid()::text, '-', '') || '/1', 0);

-- The checkpoints that are kept, signed notes (C2SP tlog-checkpoint). `size` is the number of leaves of the epoch's tree.
CREATE TABLE log_checkpoints (
    epoch integer     NOT NULL,
    size  bigint      NOT NULL,
    at    timestamptz NOT NULL,
    note  text        NOT NULL,
    PRIMARY KEY (epoch, size)
);

-- The newest checkpoint, in one row; `note` is null until there is one.
CREATE TABLE log_latest (
    is_only boolean     PRIMARY KEY DEFAULT true CHECK (is_only),
    epoch   integer     NOT NULL,
    size    bigint      NOT NULL,
    at      timestamptz NOT NULL DEFAULT now(),
    note    text
) WITH (fillfactor = 50);
INSERT INTO log_latest (epoch, size) VALUES (1, 0);

-- The events that exist wait to be sequenced. Events of one append are next to each other and have the same time, origin
-- and request.
INSERT INTO log_pending (at, stream_id, first_version, project_id, actor, request_id, types, leaves)
SELECT max(latest), stream_id, min(version), min(project_id), min(actor), min(request_id),
    array_agg(type ORDER BY version), string_agg(leaf, '' ORDER BY version)
FROM (
    SELECT *, count(*) FILTER (WHERE begins) OVER by_version AS append, max(at) OVER by_version AS latest
    FROM (
        SELECT stream_id, version, at, project_id, actor, request_id, type, leaf,
            (at, project_id, actor, request_id) IS DISTINCT FROM
                (lag(at) OVER of_stream, lag(project_id) OVER of_stream, lag(actor) OVER of_stream,
                 lag(request_id) OVER of_stream) AS begins
        FROM events
        WINDOW of_stream AS (PARTITION BY stream_id ORDER BY version)
    ) AS compared
    WINDOW by_version AS (PARTITION BY stream_id ORDER BY version)
) AS grouped
GROUP BY stream_id, append;
