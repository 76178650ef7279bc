-- name: insert
INSERT INTO api_keys
    (key_id, project_id, created_at, name, scope, hash, ending, requests_per_minute, tokens_per_minute, max_runs)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- name: revoke
UPDATE api_keys SET revoked_at = $2 WHERE key_id = $1;

-- name: by_hash
SELECT key_id AS id, project_id, scope, hash, requests_per_minute, tokens_per_minute, max_runs
FROM api_keys
WHERE hash = $1 AND revoked_at IS NULL;

-- name: by_id
SELECT key_id AS id, project_id, scope, hash, requests_per_minute, tokens_per_minute, max_runs
FROM api_keys
WHERE key_id = $1 AND revoked_at IS NULL;

-- name: good
SELECT key_id AS id FROM api_keys WHERE key_id = ANY ($1::text[]) AND revoked_at IS NULL;

-- name: get
SELECT project_id FROM api_keys WHERE key_id = $1;

-- name: list (a declared fan-out: people's, at the command line)
SELECT key_id AS id, project_id, name, scope, ending, requests_per_minute, tokens_per_minute, max_runs, created_at,
       revoked_at, last_used_at
FROM api_keys LEFT JOIN key_uses USING (key_id)
WHERE ($1::text IS NULL OR project_id = $1) AND (created_at, key_id) > ($2, $3)
ORDER BY created_at, key_id
LIMIT $4;

-- name: used
INSERT INTO key_uses (key_id, last_used_at)
SELECT * FROM unnest($1::text[], $2::timestamptz[])
ON CONFLICT (key_id) DO UPDATE SET last_used_at = greatest(key_uses.last_used_at, excluded.last_used_at);

-- name: active_runs (a declared fan-out: over the runs that are active now)
SELECT count(*)
FROM runs JOIN events ON events.stream_id = runs.thread_id AND events.version = runs.position
WHERE runs.status IN ('queued', 'in_progress', 'requires_action', 'cancelling')
  AND runs.project_id = $1 AND events.actor = $2;
