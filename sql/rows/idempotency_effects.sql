-- name: insert
-- If another try of the request made this append, its key stops the statement.
INSERT INTO idempotency_effects (stream_id, seed, place, first_version, last_version, at)
SELECT $1::text, $2, $3, $4, $5, $6
WHERE $1 IS NOT NULL AND EXISTS (SELECT FROM head)
