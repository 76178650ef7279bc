-- name: insert
INSERT INTO stream_keys (stream_id, key_id, epoch, wrapped)
SELECT $1::text, $2, $3, $4
WHERE $1 IS NOT NULL AND EXISTS (SELECT FROM head)
