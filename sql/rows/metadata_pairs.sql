-- name: insert
INSERT INTO metadata_pairs (stream_id, kind, project_id, created_at, pair, together)
SELECT $1, $2, $3, $4, pair, $6::uuid[] FROM unnest($5::bytea[]) AS new (pair)
WHERE EXISTS (SELECT FROM head)

-- name: remove
-- Deletes the pairs that the object no longer has.
DELETE FROM metadata_pairs WHERE stream_id = $1 AND NOT pair = ANY ($2::bytea[]) AND EXISTS (SELECT FROM head)

-- name: replace_thread
INSERT INTO metadata_pairs (stream_id, kind, project_id, created_at, pair, together)
SELECT thread_id, 'thread', project_id, created_at, pair, $3::uuid[]
FROM threads CROSS JOIN unnest($2::bytea[]) AS new (pair)
WHERE thread_id = $1 AND EXISTS (SELECT FROM head)
ON CONFLICT (stream_id, pair) DO UPDATE SET together = excluded.together
WHERE metadata_pairs.together IS DISTINCT FROM excluded.together

-- name: replace_assistant
INSERT INTO metadata_pairs (stream_id, kind, project_id, created_at, pair, together)
SELECT assistant_id, 'assistant', project_id, created_at, pair, $3::uuid[]
FROM assistants CROSS JOIN unnest($2::bytea[]) AS new (pair)
WHERE assistant_id = $1 AND EXISTS (SELECT FROM head)
ON CONFLICT (stream_id, pair) DO UPDATE SET together = excluded.together
WHERE metadata_pairs.together IS DISTINCT FROM excluded.together

-- name: delete
DELETE FROM metadata_pairs WHERE stream_id = $1 AND EXISTS (SELECT FROM head)
