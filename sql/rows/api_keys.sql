-- name: insert
INSERT INTO api_keys
    (key_id, project_id, created_at, name, scope, hash, ending, requests_per_minute, tokens_per_minute, max_runs)
SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10
WHERE EXISTS (SELECT FROM head)

-- name: modify
UPDATE api_keys SET name = $2, requests_per_minute = $3, tokens_per_minute = $4, max_runs = $5
WHERE key_id = $1 AND EXISTS (SELECT FROM head)

-- name: revoke
UPDATE api_keys SET revoked_at = $2 WHERE key_id = $1 AND EXISTS (SELECT FROM head)
