-- name: newest
-- sealed: signing_keys('installation:signing_keys', id): secret
SELECT key_id AS id, secret, created_at FROM signing_keys ORDER BY created_at DESC LIMIT 1;

-- name: get
-- sealed: signing_keys('installation:signing_keys', $1): secret
SELECT key_id AS id, secret, created_at FROM signing_keys WHERE key_id = $1;

-- name: add
INSERT INTO signing_keys (key_id, secret, created_at) VALUES ($1, $2, $3);

-- name: forget
DELETE FROM signing_keys WHERE created_at <= $1;
