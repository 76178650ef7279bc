-- name: create
CREATE TABLE IF NOT EXISTS migrations (name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now());

-- name: applied
SELECT name FROM migrations;

-- name: record
INSERT INTO migrations (name) VALUES ($1);
