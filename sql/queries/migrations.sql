-- name: version
SHOW server_version_num;

-- name: ping
SELECT 1;

-- name: exists
SELECT to_regclass('migrations') IS NOT NULL;

-- name: lock
SELECT pg_advisory_lock($1);

-- name: unlock
SELECT pg_advisory_unlock($1);

-- name: create
CREATE TABLE IF NOT EXISTS migrations (name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now());

-- name: applied
SELECT name FROM migrations;

-- name: record
INSERT INTO migrations (name) VALUES ($1);

-- name: vector (which pgvector the database has, and which it could have)
SELECT installed_version AS installed, default_version AS available FROM pg_available_extensions WHERE name = 'vector';

-- name: make_vector
CREATE EXTENSION vector;
