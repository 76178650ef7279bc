-- name: epoch (the newest one; no row if nothing is encrypted)
SELECT epoch, key_id FROM encryption_epochs ORDER BY epoch DESC LIMIT 1;

-- name: needed_keys (the key of the newest epoch, and of those whose key still wraps keys of streams)
SELECT key_id FROM encryption_epochs
WHERE epoch = (SELECT max(newest.epoch) FROM encryption_epochs AS newest)
   OR EXISTS (SELECT FROM stream_keys WHERE stream_keys.epoch = encryption_epochs.epoch)
ORDER BY epoch;

-- name: find (with the ids of the keys that wrap them)
SELECT stream_id, stream_keys.key_id, wrapped, encryption_epochs.key_id AS wrapped_by
FROM stream_keys JOIN encryption_epochs USING (epoch)
WHERE stream_id = ANY ($1::text[]);

-- name: delete_blob_keys (the keys of blobs that are deleted)
DELETE FROM stream_keys WHERE stream_id = ANY ($1::text[]);

-- name: add (a key of the installation, unless there is one)
INSERT INTO stream_keys (stream_id, key_id, epoch, wrapped) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING;

-- name: try_lock_blob (of the process that encrypts the plain bytes of blob $1, until `unlock_blob`)
SELECT pg_try_advisory_lock(hashtextextended($1, 0));

-- name: unlock_blob
SELECT pg_advisory_unlock(hashtextextended($1, 0));
