-- name: insert
INSERT INTO uploads (upload_id, project_id, status, expires_at, body, makes)
SELECT $1, $2, 'pending', $3, $4, $5
WHERE EXISTS (SELECT FROM head)

-- name: finish
UPDATE uploads SET status = $2, file_id = $3
WHERE upload_id = $1 AND EXISTS (SELECT FROM head)
