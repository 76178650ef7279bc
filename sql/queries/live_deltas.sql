-- name: insert
-- Adds deltas, and wakes the peers on channel $6 with payload $7. Unless they are sealed ($8), adds nothing if the
-- installation is encrypted. Returns the number of rows.
WITH added AS (
    INSERT INTO live_deltas (thread_id, process, call, is_start, deltas, batch)
    SELECT thread_id, $1, call, is_start, deltas, batch
    FROM unnest($2::text[], $3::bigint[], $4::boolean[], $5::bytea[], $9::integer[])
        AS new (thread_id, call, is_start, deltas, batch)
    WHERE $8 OR NOT EXISTS (SELECT FROM encryption_epochs)
    RETURNING 1
)
SELECT count, pg_notify($6, $7) FROM (SELECT count(*) AS count FROM added) AS counted;

-- name: read_after
-- sealed: live_deltas(thread_id, process, call): deltas
SELECT live_deltas.thread_id, id, process, call, is_start, deltas, batch
FROM unnest($1::text[], $2::bigint[]) AS known (thread_id, last)
JOIN live_deltas ON live_deltas.thread_id = known.thread_id AND id > last
ORDER BY id
LIMIT $3;

-- name: delete_calls
DELETE FROM live_deltas USING unnest($1::text[], $2::bigint[]) AS closed (thread_id, call)
WHERE live_deltas.thread_id = closed.thread_id AND live_deltas.call = closed.call AND process = $3;

-- name: delete_dead (a declared fan-out, when a process has died)
DELETE FROM live_deltas WHERE NOT process = ANY ($1::integer[]);
