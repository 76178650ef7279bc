-- name: insert
INSERT INTO upload_parts (upload_id, part_id, bytes, body) SELECT $1, $2, $3, $4
WHERE EXISTS (SELECT FROM head)

-- name: delete_all
DELETE FROM upload_parts WHERE upload_id = $1 AND EXISTS (SELECT FROM head)
