-- name: insert
-- A delivery is due exactly if its event is in the log.
INSERT INTO webhook_deliveries (endpoint_id, stream_id, version)
SELECT endpoint_id, $1, $2 + place
FROM unnest($3::text[]) WITH ORDINALITY AS new (kind, place)
JOIN webhook_endpoints ON project_id = $4 AND enabled AND kind = ANY (types)
WHERE EXISTS (SELECT FROM head)
