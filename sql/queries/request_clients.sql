-- name: insert
INSERT INTO request_clients (request_id, at, content)
SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::bytea[])
ON CONFLICT DO NOTHING;

-- name: delete_old
DELETE FROM request_clients WHERE request_id IN (SELECT request_id FROM request_clients WHERE at < $1 ORDER BY at LIMIT $2);
