-- name: claim
-- Claims a key that is new, or so old that it would have been deleted.
INSERT INTO idempotency_keys (token, seed, created_at, request, body, process, claimed_at)
VALUES ($1, $2, $3, $4, $5, $6, $3)
ON CONFLICT (token) DO UPDATE
SET seed = excluded.seed, created_at = excluded.created_at, request = excluded.request, body = excluded.body,
    process = excluded.process, claimed_at = excluded.claimed_at, status = NULL, headers = NULL, sealed_headers = NULL,
    content = NULL
WHERE idempotency_keys.created_at <= $7
RETURNING seed;

-- name: find
SELECT seed, request, body, process, claimed_at, status FROM idempotency_keys WHERE token = $1;

-- name: answer
-- sealed: idempotency_keys('installation:answers', $1): content, sealed_headers
SELECT content, headers, sealed_headers FROM idempotency_keys WHERE token = $1 AND seed = $2 AND status IS NOT NULL;

-- name: take
-- Claims a key that no request works on, if its row is still as it was read.
UPDATE idempotency_keys
SET process = $4, claimed_at = $5, request = $6, body = $7
WHERE token = $1 AND seed = $2 AND status IS NULL AND process IS NOT DISTINCT FROM $3 AND claimed_at = $8
RETURNING token;

-- name: tell_body
UPDATE idempotency_keys SET body = $3 WHERE token = $1 AND seed = $2;

-- name: finish
UPDATE idempotency_keys SET process = NULL, status = $4, headers = $5, content = $6, sealed_headers = $7
WHERE token = $1 AND seed = $2 AND claimed_at = $3 AND status IS NULL;

-- name: has_effect (a declared fan-out, after a request that failed)
SELECT EXISTS (SELECT FROM idempotency_effects WHERE seed = $1);

-- name: release
-- If the request had an effect ($4), the key stays bound to it; otherwise any request may use the key.
UPDATE idempotency_keys
SET process = NULL, request = CASE WHEN $4::boolean THEN request END, body = CASE WHEN $4 THEN body END
WHERE token = $1 AND seed = $2 AND claimed_at = $3 AND status IS NULL;

-- name: effect
SELECT first_version, last_version FROM idempotency_effects WHERE stream_id = $1 AND seed = $2 AND place = $3;

-- name: expire_keys (a declared fan-out, of the sweep)
DELETE FROM idempotency_keys
WHERE token IN (SELECT token FROM idempotency_keys WHERE created_at <= $1 ORDER BY created_at LIMIT $2)
RETURNING token;

-- name: expire_effects (a declared fan-out, of the sweep)
DELETE FROM idempotency_effects
WHERE (stream_id, seed, place) IN (
    SELECT stream_id, seed, place FROM idempotency_effects WHERE at <= $1 ORDER BY at LIMIT $2
)
RETURNING place;
