-- name: insert
INSERT INTO events
    (stream_id, version, type, at, project_id, actor, request_id, cause, schema_version, software_version,
     algorithm, client, key_id, content, commitment, leaf)
SELECT $1, $2 + place, kind, $7, $8, $9, $10, $11, $12, $13, $14, $15::bytea, $16, content, commitment, leaf
FROM unnest($3::text[], $4::bytea[], $5::bytea[], $6::bytea[])
    WITH ORDINALITY AS new (kind, content, commitment, leaf, place)
WHERE EXISTS (SELECT FROM head)
