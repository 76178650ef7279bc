-- name: snapshot (a name under which other connections see the state of this transaction)
SELECT pg_export_snapshot();

-- name: oldest_epoch (the oldest epoch of key-encryption keys that wraps a data key, with the id of its key)
SELECT epoch, key_id FROM encryption_epochs
WHERE epoch >= COALESCE((SELECT min(epoch) FROM stream_keys), 0)
ORDER BY epoch
LIMIT 1;

-- name: is_empty
SELECT to_regclass('streams') IS NULL;
