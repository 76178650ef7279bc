-- name: get
-- sealed: uploads($1): body
SELECT body, status, file_id FROM uploads WHERE upload_id = $1 AND project_id = $2;

-- name: parts
-- sealed: upload_parts($1, part_id): body
SELECT part_id, body FROM upload_parts WHERE upload_id = $1 ORDER BY part_id;

-- name: find_overdue (a declared fan-out, of the sweep)
SELECT upload_id AS id, project_id FROM uploads WHERE status = 'pending' AND expires_at <= $1
ORDER BY expires_at
LIMIT $2;

-- name: find_leftover_files (a declared fan-out, of the sweep)
SELECT upload_id AS id, uploads.project_id FROM uploads JOIN files ON files.file_id = makes
WHERE status IN ('cancelled', 'expired') AND blob IS NOT NULL
LIMIT $1;
