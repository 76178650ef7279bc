-- Salted contents, commitments and leaves (docs/log-format.md), filled for the events that exist, in order. The head of
-- a stream gets its last leaf, and a fence that moves if the views are rewritten under a held head.

ALTER TABLE events
    ADD COLUMN algorithm smallint NOT NULL DEFAULT 1,
    ADD COLUMN commitment bytea,
    ADD COLUMN leaf bytea,
    ADD COLUMN key_id text;
ALTER TABLE events ALTER COLUMN algorithm DROP DEFAULT;
ALTER TABLE streams
    ADD COLUMN leaf bytea,
    ADD COLUMN fence bigint NOT NULL DEFAULT 0,
    ADD COLUMN key_id text;

CREATE FUNCTION pg_temp.prefix_length(field bytea) RETURNS bytea LANGUAGE sql IMMUTABLE AS
    $$ SELECT COALESCE(int4send(length(field)) || field, '\xffffffff'::bytea) $$;
CREATE FUNCTION pg_temp.prefix_length(field text) RETURNS bytea LANGUAGE sql STABLE AS
    $$ SELECT pg_temp.prefix_length(convert_to(field, 'UTF8')) $$;
CREATE FUNCTION pg_temp.prefix_length(field bigint) RETURNS bytea LANGUAGE sql IMMUTABLE AS
    $$ SELECT pg_temp.prefix_length(int8send(field)) $$;

DO $$
DECLARE
    entry record;
    stream text;
    previous bytea;
    salted bytea;
    committed bytea;
BEGIN
    FOR entry IN SELECT * FROM events ORDER BY stream_id, version LOOP
        IF stream IS DISTINCT FROM entry.stream_id THEN
            stream := entry.stream_id;
            previous := '';
        END IF;
        -- Three random uuids have 366 random bits; their hash has 256.
        salted := sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
            || entry.content;
        committed := sha256(convert_to(E'everthread/commitment/1\n', 'UTF8') || salted);
        previous := sha256(
            '\x00'::bytea || convert_to(E'everthread/leaf/1\n', 'UTF8')
            || pg_temp.prefix_length(1::bigint)
            || pg_temp.prefix_length(entry.stream_id)
            || pg_temp.prefix_length(entry.version)
            || pg_temp.prefix_length(entry.type)
            || pg_temp.prefix_length((extract(epoch FROM entry.at) * 1000000)::bigint)
            || pg_temp.prefix_length(entry.project_id)
            || pg_temp.prefix_length(entry.actor)
            || pg_temp.prefix_length(entry.request_id)
            || pg_temp.prefix_length(entry.cause)
            || pg_temp.prefix_length(entry.schema_version::bigint)
            || pg_temp.prefix_length(entry.software_version)
            || pg_temp.prefix_length(committed)
            || pg_temp.prefix_length(previous)
        );
        UPDATE events SET content = salted, commitment = committed, leaf = previous
        WHERE stream_id = entry.stream_id AND version = entry.version;
    END LOOP;
END
$$;

UPDATE streams SET leaf = events.leaf
FROM events WHERE events.stream_id = streams.stream_id AND events.version = streams.version;

ALTER TABLE events ALTER COLUMN commitment SET NOT NULL, ALTER COLUMN leaf SET NOT NULL;
ALTER TABLE streams ALTER COLUMN leaf SET NOT NULL;

DROP FUNCTION pg_temp.prefix_length(bytea);
DROP FUNCTION pg_temp.prefix_length(text);
DROP FUNCTION pg_temp.prefix_length(bigint);

-- The first 32 bytes of a content are its salt.
CREATE OR REPLACE VIEW events_readable AS
SELECT stream_id, version, type, at, project_id, actor, request_id, cause,
    convert_from(substr(content, 33), 'UTF8')::json AS content
FROM events;
