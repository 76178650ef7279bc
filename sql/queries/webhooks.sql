-- name: get
-- sealed: webhook_endpoints($1): body, patches
-- sealed: webhook_work('installation:webhook_work', $1): last_error
SELECT body, patches, delivered_at, failing_since, last_error
FROM webhook_endpoints LEFT JOIN webhook_work USING (endpoint_id)
WHERE endpoint_id = $1 AND project_id = $2;

-- name: list
-- sealed: webhook_endpoints(endpoint_id): body, patches
-- sealed: webhook_work('installation:webhook_work', endpoint_id): last_error
SELECT endpoint_id, body, patches, delivered_at, failing_since, last_error
FROM webhook_endpoints LEFT JOIN webhook_work USING (endpoint_id)
WHERE project_id = $1
ORDER BY created_at, endpoint_id
LIMIT $2;

-- name: project_of
SELECT project_id FROM webhook_endpoints WHERE endpoint_id = $1;

-- name: lock_project (other transactions for the project wait here until this one ends)
SELECT pg_advisory_xact_lock(hashtextextended('webhook_endpoints:' || $1, 0));

-- name: count
SELECT count(*) FROM (SELECT FROM webhook_endpoints WHERE project_id = $1 LIMIT $2) AS found;

-- name: prepare
-- A repeated request keeps the secret of the first try.
-- sealed: webhook_work('installation:webhook_work', $1): secret
INSERT INTO webhook_work (endpoint_id, secret) VALUES ($1, $2)
ON CONFLICT (endpoint_id) DO UPDATE SET secret = webhook_work.secret
RETURNING secret;

-- name: drop_missed (pending deliveries to an endpoint that is disabled)
DELETE FROM webhook_deliveries WHERE endpoint_id = $1
  AND EXISTS (SELECT FROM webhook_endpoints WHERE endpoint_id = $1 AND NOT enabled);

-- name: forget_failures
UPDATE webhook_work SET failures = 0, failing_since = NULL, last_error = NULL, rests_until = now()
WHERE endpoint_id = $1;

-- name: secrets
-- sealed: webhook_work('installation:webhook_work', $1): secret, replaced_secrets
SELECT secret, replaced_secrets, replaced_until, now() AS at FROM webhook_work WHERE endpoint_id = $1;

-- name: lock_secrets
-- sealed: webhook_work('installation:webhook_work', $1): secret, replaced_secrets
SELECT secret, replaced_secrets, replaced_until, now() AS at FROM webhook_work WHERE endpoint_id = $1 FOR UPDATE;

-- name: rotate
UPDATE webhook_work SET secret = $2, replaced_secrets = $3, replaced_until = $4 WHERE endpoint_id = $1;

-- name: forget_secrets (a declared fan-out, of the couriers; all replaced secrets of an endpoint once the last of them expired)
UPDATE webhook_work SET replaced_secrets = '{}', replaced_until = '{}'
WHERE replaced_secrets <> '{}' AND now() >= ALL (replaced_until);

-- name: has_endpoints
SELECT EXISTS (SELECT FROM webhook_work);

-- name: find_idle (a declared fan-out, of the couriers)
-- Endpoints whose last delivery succeeded come first, and among them those that were idle for longest.
SELECT endpoint_id, process, failures > 0 AS failing FROM webhook_work
WHERE (process IS NULL OR NOT process = ANY ($1::integer[])) AND rests_until <= now()
  AND NOT endpoint_id = ANY ($2::text[])
  AND EXISTS (
      SELECT FROM webhook_deliveries
      WHERE webhook_deliveries.endpoint_id = webhook_work.endpoint_id AND due_at <= now()
  )
ORDER BY failing, rests_until
LIMIT $3;

-- name: claim
UPDATE webhook_work SET process = $2 WHERE endpoint_id = $1 AND process IS NOT DISTINCT FROM $3 RETURNING true;

-- name: release
UPDATE webhook_work SET process = NULL WHERE endpoint_id = $1 AND process = $2;

-- name: load_claimed
-- sealed: webhook_endpoints($1): body, patches
-- sealed: webhook_work('installation:webhook_work', $1): secret, replaced_secrets
SELECT project_id, body, patches, secret, replaced_secrets, replaced_until, now() AS at, rests_until <= now() AS ready
FROM webhook_work JOIN webhook_endpoints USING (endpoint_id)
WHERE endpoint_id = $1 AND process = $2 AND enabled;

-- name: find_due
SELECT stream_id, version, attempts
FROM (
    SELECT DISTINCT ON (stream_id) stream_id, version, attempts, due_at
    FROM (
        SELECT stream_id, version, attempts, due_at FROM webhook_deliveries
        WHERE endpoint_id = $1 AND due_at <= now() AND NOT stream_id = ANY ($2::text[])
        ORDER BY due_at
        LIMIT $3
    ) AS oldest
    ORDER BY stream_id, version
) AS first_of_each
ORDER BY due_at
LIMIT $4;

-- name: record_success
UPDATE webhook_work SET failures = 0, failing_since = NULL, delivered_at = now(), last_error = NULL, rests_until = now()
WHERE endpoint_id = $1 AND (failures > 0 OR delivered_at IS NULL OR delivered_at < now() - interval '5 s');

-- name: postpone
UPDATE webhook_deliveries SET attempts = attempts + 1, due_at = now() + $4 * interval '1 s'
WHERE endpoint_id = $1 AND stream_id = $2 AND version = $3;

-- name: record_failure
UPDATE webhook_work
SET failures = failures + 1, failing_since = COALESCE(failing_since, now()), last_error = $2,
    rests_until = now() + least(greatest(now() - failing_since, $3 * interval '1 s'), $4 * interval '1 s')
WHERE endpoint_id = $1
RETURNING failures, extract(epoch FROM now() - failing_since)::float AS seconds;

-- name: waiting
SELECT stream_id, version, type, attempts, due_at
FROM webhook_deliveries JOIN events USING (stream_id, version)
WHERE endpoint_id = $1
ORDER BY due_at, stream_id, version
LIMIT $2;

-- name: end_rest
UPDATE webhook_work SET rests_until = now() WHERE endpoint_id = $1;

-- name: retry
UPDATE webhook_deliveries SET due_at = now()
FROM (
    SELECT stream_id, version FROM webhook_deliveries
    WHERE endpoint_id = $1 AND attempts > 0 AND due_at > now()
    ORDER BY due_at
    LIMIT $2
) AS failed
WHERE endpoint_id = $1 AND webhook_deliveries.stream_id = failed.stream_id AND webhook_deliveries.version = failed.version
RETURNING webhook_deliveries.version;

-- name: discard
DELETE FROM webhook_deliveries WHERE endpoint_id = $1 AND stream_id = $2 AND version = $3;

-- name: run_position
SELECT position FROM runs WHERE thread_id = $1 AND run_id = $2;

-- name: find_overloaded (a declared fan-out, of the couriers)
SELECT endpoint_id FROM webhook_work
WHERE (
    SELECT count(*) FROM (
        SELECT FROM webhook_deliveries WHERE webhook_deliveries.endpoint_id = webhook_work.endpoint_id LIMIT $1
    ) AS found
) >= $1;

-- name: find_dead (endpoints that are disabled or deleted)
SELECT endpoint_id FROM webhook_work LEFT JOIN webhook_endpoints USING (endpoint_id) WHERE enabled IS NOT TRUE;

-- name: drop_deliveries (to endpoints $1, if they are disabled or deleted still)
DELETE FROM webhook_deliveries USING (
    SELECT endpoint_id, stream_id, version
    FROM webhook_deliveries LEFT JOIN webhook_endpoints USING (endpoint_id)
    WHERE endpoint_id = ANY ($1::text[]) AND enabled IS NOT TRUE
    LIMIT $2
) AS dropped
WHERE webhook_deliveries.endpoint_id = dropped.endpoint_id AND webhook_deliveries.stream_id = dropped.stream_id
  AND webhook_deliveries.version = dropped.version;

-- name: drop_work (of endpoints that were deleted, or never created)
DELETE FROM webhook_work
WHERE made_at < now() - interval '1 hour'
  AND NOT EXISTS (SELECT FROM webhook_endpoints WHERE webhook_endpoints.endpoint_id = webhook_work.endpoint_id);

-- name: count_pending (a declared fan-out, of the metrics)
SELECT count(*) FROM (SELECT FROM webhook_deliveries LIMIT $1) AS found;
