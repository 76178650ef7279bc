-- name: try_lock (of the process that writes the events of epochs, until the end of the transaction)
SELECT pg_try_advisory_xact_lock($1);

-- name: epochs (with the number of the keys that each wraps; a declared fan-out, of the command line)
SELECT epoch, key_id, began_at, destroyed_at,
    (SELECT count(*) FROM stream_keys WHERE stream_keys.epoch = encryption_epochs.epoch) AS wrapped
FROM encryption_epochs
ORDER BY epoch;

-- name: is_due (whether the newest epoch is older than $1 days; no row if nothing is encrypted)
SELECT began_at <= now() - $1 * interval '1 day' AS is_due, key_id FROM encryption_epochs ORDER BY epoch DESC LIMIT 1;

-- name: unannounced
SELECT epoch, key_id FROM encryption_epochs WHERE announced_at IS NULL ORDER BY epoch;

-- name: mark_announced
UPDATE encryption_epochs SET announced_at = now() WHERE epoch = ANY ($1::integer[]);

-- name: due_for_destruction
-- Epochs that ended $1 days ago or earlier, and whose key wraps nothing. The key may be that of a later epoch too.
SELECT epoch, key_id FROM encryption_epochs AS old
WHERE destroyed_at IS NULL
    AND EXISTS (
        SELECT FROM encryption_epochs AS later
        WHERE later.epoch = old.epoch + 1 AND later.began_at <= now() - $1 * interval '1 day'
    )
    AND NOT EXISTS (
        SELECT FROM stream_keys JOIN encryption_epochs AS same USING (epoch) WHERE same.key_id = old.key_id
    )
    AND NOT EXISTS (
        SELECT FROM encryption_epochs AS same
        WHERE same.key_id = old.key_id AND same.epoch > old.epoch AND same.destroyed_at IS NULL
    )
ORDER BY epoch;

-- name: mark_destroyed
UPDATE encryption_epochs SET destroyed_at = now() WHERE epoch = $1;

-- name: destroyed_keys
SELECT key_id FROM encryption_epochs AS old
WHERE destroyed_at IS NOT NULL
    AND NOT EXISTS (SELECT FROM encryption_epochs AS same WHERE same.key_id = old.key_id AND same.destroyed_at IS NULL);
