-- name: lock (of changes of policies and holds, until the end of the transaction)
SELECT pg_advisory_xact_lock($1);

-- name: lock_shared (against those changes, until the end of the transaction)
SELECT pg_advisory_xact_lock_shared($1);

-- name: policy
SELECT project_id, idle_days, keep_days FROM retention_policies WHERE project_id = $1;

-- name: policies (that say anything)
SELECT project_id, idle_days, keep_days FROM retention_policies
WHERE idle_days IS NOT NULL OR keep_days IS NOT NULL
ORDER BY project_id;

-- name: set_policy
INSERT INTO retention_policies (project_id, idle_days, keep_days, set_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (project_id) DO UPDATE
SET idle_days = excluded.idle_days, keep_days = excluded.keep_days, set_at = excluded.set_at;

-- name: active_holds (of the projects $1)
SELECT hold_id AS id, project_id, thread_id, metadata, reason, placed_at, ended_at FROM legal_holds
WHERE project_id = ANY ($1::text[]) AND ended_at IS NULL
ORDER BY placed_at, hold_id;

-- name: hold
SELECT hold_id AS id, project_id, thread_id, metadata, reason, placed_at, ended_at FROM legal_holds WHERE hold_id = $1;

-- name: holds (behind the hold placed at $1 with the id $2; ended ones too if $4)
SELECT hold_id AS id, project_id, thread_id, metadata, reason, placed_at, ended_at FROM legal_holds
WHERE (placed_at, hold_id) > ($1, $2) AND ($3::text IS NULL OR project_id = $3) AND ($4 OR ended_at IS NULL)
ORDER BY placed_at, hold_id
LIMIT $5;

-- name: add_hold
INSERT INTO legal_holds (hold_id, project_id, thread_id, metadata, reason, placed_at)
VALUES ($1, $2, $3, $4, $5, $6);

-- name: end_hold
UPDATE legal_holds SET ended_at = $2 WHERE hold_id = $1;

-- name: review_again (deleted objects of project $1 that wait for their release)
UPDATE erasures SET due_at = now() WHERE project_id = $1 AND released_version < version;

-- name: is_released (whether the data of the deleted thread $1 are erased, or about to be)
SELECT EXISTS (SELECT FROM erasures WHERE stream_id = $1 AND released_version >= version);

-- name: waiting_count (deleted objects whose data are kept by a hold or a keep time, by project)
SELECT project_id, count(*) AS count FROM erasures
WHERE released_version < version
GROUP BY project_id
ORDER BY project_id;

-- name: claim_unreleased (at most $1; a declared fan-out, of the eraser)
-- `last_at` is the time of the last event before the deletion: a deletion may end runs in its own append, at its time.
SELECT stream_id, kind, project_id, version, deleted_at,
    COALESCE(
        (
            SELECT events.at FROM events
            WHERE events.stream_id = erasures.stream_id AND events.version < erasures.version
                AND events.at < erasures.deleted_at
            ORDER BY events.version DESC
            LIMIT 1
        ),
        deleted_at
    ) AS last_at
FROM erasures
WHERE released_version < version AND due_at <= now()
ORDER BY due_at
LIMIT $1
FOR UPDATE SKIP LOCKED;

-- name: release (deletions that may be erased now)
UPDATE erasures SET released_version = version, due_at = now() WHERE stream_id = ANY ($1::text[]);

-- name: wait (each for so many seconds until it is looked at again)
UPDATE erasures SET due_at = now() + waits.seconds * interval '1 s'
FROM unnest($1::text[], $2::float8[]) AS waits (stream_id, seconds)
WHERE erasures.stream_id = waits.stream_id;

-- name: claim_idle_scan (for $1 seconds; no row if it is not due, or another process does it)
UPDATE retention_progress SET due_at = now() + $1 * interval '1 s' WHERE due_at <= now() RETURNING id;

-- name: next_idle_scan (in so many seconds)
UPDATE retention_progress SET due_at = now() + $1 * interval '1 s';

-- name: idle_threads (of project $1 without an event since $2, created after the thread of that time and id; oldest first)
-- A thread that is idle for so long was created before, so the index of the list bounds the scan.
SELECT thread_id, created_at, streams.at AS last_at
FROM threads JOIN streams ON streams.stream_id = threads.thread_id
WHERE threads.project_id = $1 AND (created_at, thread_id) > ($3, $4) AND created_at < $2 AND streams.at < $2
ORDER BY created_at, thread_id
LIMIT $5;

-- name: last_event (the time of the newest event of the thread)
SELECT at FROM streams WHERE stream_id = $1;
