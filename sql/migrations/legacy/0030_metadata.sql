-- What metadata filters look in: one row for each pair of a thread or an assistant. `pair` is the sha256 of key, NUL and
-- value: short, whatever their length, so that one index finds an object by any pair, in the order of lists.
CREATE TABLE metadata_pairs (
    stream_id  text        NOT NULL,
    pair       bytea       NOT NULL,
    kind       text        NOT NULL,
    project_id text        NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (stream_id, pair)
);
CREATE INDEX metadata_pairs_in_order ON metadata_pairs (project_id, kind, pair, created_at, stream_id);

INSERT INTO metadata_pairs (stream_id, pair, kind, project_id, created_at)
SELECT thread_id, sha256(convert_to(key, 'UTF8') || '\x00'::bytea || convert_to(value, 'UTF8')), 'thread', project_id,
       created_at
FROM threads CROSS JOIN json_each_text(body -> 'metadata');

INSERT INTO metadata_pairs (stream_id, pair, kind, project_id, created_at)
SELECT assistant_id, sha256(convert_to(key, 'UTF8') || '\x00'::bytea || convert_to(value, 'UTF8')), 'assistant',
       project_id, created_at
FROM assistants CROSS JOIN json_each_text(body -> 'metadata')
WHERE NOT deleted;
