-- name: has_streams
SELECT EXISTS (SELECT FROM streams);

-- name: lock (one process at a time begins an epoch; readers do not wait)
LOCK TABLE encryption_epochs IN SHARE ROW EXCLUSIVE MODE;

-- name: begin
-- Behind `lock`: else two processes could begin an epoch each, with different keys.
INSERT INTO encryption_epochs (epoch, key_id) SELECT COALESCE(max(epoch), 0) + 1, $1 FROM encryption_epochs
RETURNING epoch;

-- name: current (the newest epoch, with whether it is as old as $1 days)
SELECT key_id, began_at <= now() - $1 * interval '1 day' AS is_due FROM encryption_epochs ORDER BY epoch DESC LIMIT 1;

-- name: refuse_plain (the appends that do not encrypt: their epochs are below 1,000,000)
DO $$
DECLARE
    bound bigint;
BEGIN
    SELECT substring(pg_get_constraintdef(oid) FROM '>= \(?(\d+)')::bigint INTO STRICT bound
    FROM pg_constraint WHERE conname = 'streams_view_epoch' AND conrelid = 'streams'::regclass;
    IF bound < 1000000 THEN
        ALTER TABLE streams DROP CONSTRAINT streams_view_epoch;
        EXECUTE format(
            'ALTER TABLE streams ADD CONSTRAINT streams_view_epoch CHECK (view_epoch >= %s) NOT VALID', bound + 1000000
        );
    END IF;
END
$$;

-- name: state (a declared fan-out, of the command line; $1 are the kinds of streams that are encrypted)
SELECT COALESCE(max(epoch), 0)::integer AS epoch,
    COALESCE((array_agg(key_id ORDER BY epoch DESC))[1], '') AS key_id,
    (
        SELECT count(*) FROM streams
        WHERE kind = ANY ($1::text[])
          AND EXISTS (SELECT FROM events WHERE events.stream_id = streams.stream_id AND key_id IS NULL)
    ) AS plain_streams,
    (
        SELECT count(*) FROM stream_keys WHERE stream_keys.epoch < (SELECT max(newest.epoch) FROM encryption_epochs AS newest)
    ) AS older_keys
FROM encryption_epochs;

-- name: plain_streams (after $2, of the kinds $1; a declared fan-out, of the command line)
SELECT stream_id FROM streams
WHERE kind = ANY ($1::text[]) AND stream_id > $2
  AND EXISTS (SELECT FROM events WHERE events.stream_id = streams.stream_id AND key_id IS NULL)
ORDER BY stream_id
LIMIT $3;

-- name: plain_events (of stream $1 after version $2)
-- sealed: events($1, version): content
SELECT version, content FROM events
WHERE stream_id = $1 AND version > $2 AND key_id IS NULL
ORDER BY version
LIMIT $3;

-- name: seal_events (only the owner of the table may; the commitments and leaves stay)
UPDATE events SET content = new.content, key_id = $2
FROM unnest($3::bigint[], $4::bytea[]) AS new (version, content)
WHERE events.stream_id = $1 AND events.version = new.version AND events.key_id IS NULL;

-- name: older_keys (wrapped before epoch $1, with the ids of the keys that wrap them)
SELECT stream_id, stream_keys.key_id, wrapped, encryption_epochs.key_id AS wrapped_by
FROM stream_keys JOIN encryption_epochs USING (epoch)
WHERE stream_keys.epoch < $1
ORDER BY stream_id
LIMIT $2;

-- name: wrap (keys that are still those that were read)
UPDATE stream_keys SET wrapped = new.wrapped, epoch = $4
FROM unnest($1::text[], $2::text[], $3::bytea[]) AS new (stream_id, key_id, wrapped)
WHERE stream_keys.stream_id = new.stream_id AND stream_keys.key_id = new.key_id AND stream_keys.epoch < $4;

-- name: plain_rows
-- Of the tables whose rows belong to no stream; $1 is the beginning of a sealed value. A declared fan-out, of the
-- command line. The answers of requests for erased objects have no text (`answer_missing`).
SELECT (SELECT count(*) FROM signing_keys WHERE substr(secret, 1, length($1::bytea)) <> $1)
    + (SELECT count(*) FROM webhook_work WHERE substr(secret, 1, length($1::bytea)) <> $1)
    + (
        SELECT count(*) FROM idempotency_keys
        WHERE status IS NOT NULL AND (headers IS NOT NULL OR substr(content, 1, length($1::bytea)) <> $1)
          AND NOT (status = 404 AND headers::text = '{"Content-Type": "application/json; charset=utf-8"}')
    ) AS rows;

-- name: plain_signing_keys
-- sealed: signing_keys('installation:signing_keys', key_id): secret
SELECT key_id, secret FROM signing_keys
WHERE substr(secret, 1, length($1::bytea)) <> $1
ORDER BY key_id
LIMIT $2
FOR UPDATE;

-- name: seal_signing_keys
UPDATE signing_keys SET secret = $2 WHERE key_id = $1;

-- name: plain_webhook_work
-- sealed: webhook_work('installation:webhook_work', endpoint_id): secret, last_error, replaced_secrets
SELECT endpoint_id, secret, last_error, replaced_secrets FROM webhook_work
WHERE substr(secret, 1, length($1::bytea)) <> $1
ORDER BY endpoint_id
LIMIT $2
FOR UPDATE;

-- name: seal_webhook_work
UPDATE webhook_work SET secret = $2, last_error = $3, replaced_secrets = $4 WHERE endpoint_id = $1;

-- name: plain_idempotency_keys
-- sealed: idempotency_keys('installation:answers', token): content, sealed_headers
SELECT token, content, COALESCE(sealed_headers, convert_to(headers::text, 'UTF8')) AS sealed_headers
FROM idempotency_keys
WHERE status IS NOT NULL AND (headers IS NOT NULL OR substr(content, 1, length($1::bytea)) <> $1)
  AND NOT (status = 404 AND headers::text = '{"Content-Type": "application/json; charset=utf-8"}')
ORDER BY token
LIMIT $2
FOR UPDATE;

-- name: seal_idempotency_keys
UPDATE idempotency_keys SET content = $2, sealed_headers = $3, headers = NULL WHERE token = $1;
