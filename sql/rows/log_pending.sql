-- name: insert
-- The rows wait for the sequencer. `leaves` are those of all events of the append.
INSERT INTO log_pending (stream_id, first_version, at, project_id, actor, request_id, types, leaves)
SELECT $1::text, $2, $3, $4, $5, $6, $7, $8
WHERE $1 IS NOT NULL AND EXISTS (SELECT FROM head)
