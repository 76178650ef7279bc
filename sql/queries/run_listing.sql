-- name: lock (the progress; no row if another process works on it)
SELECT epoch, next_index, (SELECT max(epoch) FROM log_epochs) AS current_epoch
FROM imported_run_progress
FOR UPDATE SKIP LOCKED;

-- name: wait (for the progress, also if another process works on it)
SELECT epoch, next_index, (SELECT max(epoch) FROM log_epochs) AS current_epoch
FROM imported_run_progress
FOR UPDATE;

-- name: forget (a declared fan-out, after a restore of the database)
DELETE FROM imported_runs;

-- name: begin (the epoch $1)
UPDATE imported_run_progress SET epoch = $1, next_index = 0;

-- name: move
UPDATE imported_run_progress SET next_index = $1;

-- name: add
INSERT INTO imported_runs (thread_id, run_id, project_id, assistant_id, status, created_at)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[])
ON CONFLICT DO NOTHING;

-- name: page
-- The newest runs before ($1, $2), down to $7 of them, that were created at or after $3. Filters that are null let all
-- through: $4 the project, $5 the assistant; $6 are the statuses. A run whose end is not followed yet has the status null;
-- its row tells the status that it has now. Each branch reads an index from its end, and at most $7 entries of it.
SELECT thread_id, run_id, project_id, created_at FROM (
    SELECT ended.* FROM unnest($6::text[]) AS wanted (status)
    CROSS JOIN LATERAL (
        SELECT thread_id, run_id, project_id, created_at FROM run_outcomes
        WHERE status = wanted.status AND (created_at, run_id) < ($1, $2) AND created_at >= $3
            AND ($4::text IS NULL OR project_id = $4) AND ($5::text IS NULL OR assistant_id = $5)
        ORDER BY created_at DESC, run_id DESC
        LIMIT $7
    ) AS ended
    UNION ALL
    (
        SELECT thread_id, run_id, project_id, created_at FROM run_outcomes
        WHERE status IS NULL AND (created_at, run_id) < ($1, $2) AND created_at >= $3
            AND ($4 IS NULL OR project_id = $4) AND ($5 IS NULL OR assistant_id = $5)
        ORDER BY created_at DESC, run_id DESC
        LIMIT $7
    )
    UNION ALL
    SELECT imported.* FROM unnest($6) AS wanted (status)
    CROSS JOIN LATERAL (
        SELECT thread_id, run_id, project_id, created_at FROM imported_runs
        WHERE status = wanted.status AND (created_at, run_id) < ($1, $2) AND created_at >= $3
            AND ($4 IS NULL OR project_id = $4) AND ($5 IS NULL OR assistant_id = $5)
        ORDER BY created_at DESC, run_id DESC
        LIMIT $7
    ) AS imported
) AS found
ORDER BY created_at DESC, run_id DESC
LIMIT $7;

-- name: pending
-- The newest appends without an index in which runs began, up to $2 of them: the followers have no rows of them yet. $1
-- are the types of their events.
SELECT stream_id, first_version, octet_length(leaves) / 32 AS count FROM log_pending
WHERE types && $1::text[]
ORDER BY at DESC, stream_id DESC, first_version DESC
LIMIT $2;

-- name: find (a run by its id alone, also one of a deleted thread)
SELECT thread_id, run_id, project_id, created_at FROM run_outcomes WHERE run_id = $1
UNION ALL
SELECT thread_id, run_id, project_id, created_at FROM imported_runs WHERE run_id = $1
LIMIT 1;
