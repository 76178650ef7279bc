-- name: open
INSERT INTO streams (stream_id, kind, project_id, version, at, state_schema, state, leaf, view_epoch)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT DO NOTHING
RETURNING version

-- name: move
-- The expected leaf stops an append if the database was restored and the version came again with other events. The
-- expected fence stops it if the views were rewritten since the head was read.
UPDATE streams SET version = $5, at = $6, state_schema = $7, state = $8, leaf = $9, view_epoch = $10
WHERE stream_id = $1 AND kind = $11 AND version = $2 AND leaf = $3 AND fence = $4
RETURNING version
