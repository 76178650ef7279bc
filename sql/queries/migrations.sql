-- name: version
SHOW server_version_num;

-- name: exists
SELECT to_regclass('migrations') IS NOT NULL;

-- name: lock
SELECT pg_advisory_lock($1);

-- name: lock_in_transaction
SELECT pg_advisory_xact_lock($1);

-- name: unlock
SELECT pg_advisory_unlock($1);

-- name: create
CREATE TABLE IF NOT EXISTS migrations (
    name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now(), sha256 text
);

-- name: add_sha256 (to a table that version 0.1.0 created)
ALTER TABLE migrations ADD COLUMN IF NOT EXISTS sha256 text;

-- name: applied (through jsonb, because the table of version 0.1.0 has no column sha256)
SELECT name, to_jsonb(migrations) ->> 'sha256' AS sha256 FROM migrations;

-- name: create_raise_view_epoch (for migrations, in each transaction of one: they raise the lowest epoch that appends may
-- have by it. In an encrypted installation, the epochs of appends are higher by 1,000,000, and stay so)
CREATE OR REPLACE FUNCTION pg_temp.raise_view_epoch(epoch integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    bound bigint;
BEGIN
    SELECT substring(pg_get_constraintdef(oid) FROM '>= \(?(\d+)')::bigint INTO STRICT bound
    FROM pg_constraint WHERE conname = 'streams_view_epoch' AND conrelid = 'streams'::regclass;
    IF bound >= 1000000 THEN
        epoch := epoch + 1000000;
    END IF;
    IF epoch < bound THEN
        RAISE EXCEPTION 'the epoch % is lower than that of the database, %', epoch, bound;
    END IF;
    ALTER TABLE streams DROP CONSTRAINT streams_view_epoch;
    EXECUTE format('ALTER TABLE streams ADD CONSTRAINT streams_view_epoch CHECK (view_epoch >= %s) NOT VALID', epoch);
END
$$;

-- name: limit_lock_wait
SET LOCAL lock_timeout = '2s';

-- name: record
INSERT INTO migrations (name, sha256) VALUES ($1, $2);

-- name: create_pending_rebuilds
CREATE TABLE IF NOT EXISTS pending_rebuilds (stream_id text PRIMARY KEY);

-- name: pending_rebuilds_exist
SELECT to_regclass('pending_rebuilds') IS NOT NULL;

-- name: has_pending_rebuilds
SELECT EXISTS (SELECT FROM pending_rebuilds);

-- name: count_pending_rebuilds
SELECT count(*) FROM pending_rebuilds;

-- name: pending_rebuilds
SELECT stream_id FROM pending_rebuilds ORDER BY stream_id LIMIT $1;

-- name: delete_pending_rebuilds
DELETE FROM pending_rebuilds WHERE stream_id = ANY ($1::text[]);

-- name: vector (which pgvector the database has, and which it could have)
SELECT installed_version AS installed, default_version AS available FROM pg_available_extensions WHERE name = 'vector';

-- name: create_vector
CREATE EXTENSION vector;
