-- name: find_by_hash
SELECT key_id AS id, project_id, scope, hash, requests_per_minute, tokens_per_minute, max_runs
FROM api_keys
WHERE hash = $1 AND revoked_at IS NULL;

-- name: find_by_id
SELECT key_id AS id, project_id, scope, hash, requests_per_minute, tokens_per_minute, max_runs
FROM api_keys
WHERE key_id = $1 AND revoked_at IS NULL;

-- name: find_valid
SELECT key_id AS id FROM api_keys WHERE key_id = ANY ($1::text[]) AND revoked_at IS NULL;

-- name: project_of
SELECT project_id FROM api_keys WHERE key_id = $1;

-- name: list (a declared fan-out, of the command line)
SELECT key_id AS id, project_id, name, scope, ending, requests_per_minute, tokens_per_minute, max_runs, created_at,
       revoked_at, last_used_at
FROM api_keys LEFT JOIN key_uses USING (key_id)
WHERE ($1::text IS NULL OR project_id = $1) AND (created_at, key_id) > ($2, $3)
ORDER BY created_at, key_id
LIMIT $4;

-- name: get
SELECT key_id AS id, project_id, name, scope, ending, requests_per_minute, tokens_per_minute, max_runs, created_at,
       revoked_at, last_used_at
FROM api_keys LEFT JOIN key_uses USING (key_id)
WHERE key_id = $1 AND project_id = $2 AND revoked_at IS NULL;

-- name: position
SELECT created_at FROM api_keys WHERE key_id = $1 AND project_id = $2;

-- name: page (of a project's keys; with those that were revoked if $4)
SELECT key_id AS id, project_id, name, scope, ending, requests_per_minute, tokens_per_minute, max_runs, created_at,
       revoked_at, last_used_at
FROM api_keys LEFT JOIN key_uses USING (key_id)
WHERE project_id = $1 AND (created_at, key_id) > ($2, $3) AND ($4::boolean OR revoked_at IS NULL)
ORDER BY created_at, key_id
LIMIT $5;

-- name: record_last_uses
INSERT INTO key_uses (key_id, last_used_at)
SELECT * FROM unnest($1::text[], $2::timestamptz[])
ON CONFLICT (key_id) DO UPDATE SET last_used_at = greatest(key_uses.last_used_at, excluded.last_used_at);

-- name: count_active_runs (a declared fan-out over the runs that are active now)
SELECT count(*)
FROM active_runs JOIN events ON events.stream_id = active_runs.thread_id AND events.version = active_runs.position
WHERE active_runs.project_id = $1 AND events.actor = $2;
