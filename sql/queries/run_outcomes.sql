-- name: lock (the progress; no row if another process works on it)
SELECT epoch, next_index, (SELECT max(epoch) FROM log_epochs) AS current_epoch
FROM run_outcome_progress
FOR UPDATE SKIP LOCKED;

-- name: wait (for the progress, also if another process works on it)
SELECT epoch, next_index, (SELECT max(epoch) FROM log_epochs) AS current_epoch
FROM run_outcome_progress
FOR UPDATE;

-- name: forget (all rows but those of erased threads, which cannot be made again; a declared fan-out, after a restore)
DELETE FROM run_outcomes WHERE NOT EXISTS (SELECT FROM erasures WHERE stream_id = thread_id AND erased_version > 0);

-- name: begin (the epoch $1)
UPDATE run_outcome_progress SET epoch = $1, next_index = 0;

-- name: move
UPDATE run_outcome_progress SET next_index = $1;

-- name: add
INSERT INTO run_outcomes (
    thread_id, run_id, project_id, key_id, assistant_id, model, created_at, started_at, ended_at, status, cause
)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[], $8::timestamptz[],
    $9::timestamptz[], $10::text[], $11::text[]
)
ON CONFLICT DO NOTHING;

-- name: change
-- The later events of runs; a value of null leaves its column unchanged. The first start of a run counts.
UPDATE run_outcomes
SET started_at = COALESCE(run_outcomes.started_at, new.started_at),
    ended_at = COALESCE(new.ended_at, run_outcomes.ended_at),
    status = COALESCE(new.status, run_outcomes.status),
    cause = COALESCE(new.cause, run_outcomes.cause)
FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::text[], $6::text[])
    AS new (thread_id, run_id, started_at, ended_at, status, cause)
WHERE run_outcomes.thread_id = new.thread_id AND run_outcomes.run_id = new.run_id
    AND (run_outcomes.started_at IS NULL OR new.ended_at IS NOT NULL);

-- name: report
-- The runs that ended from $1 until before $2, in steps of $7 seconds from the epoch of Unix. $3 to $6 are filters; null
-- lets all through. A name is null in the answer if $8 does not list it.
SELECT
    floor(extract(epoch FROM ended_at) / $7::bigint)::bigint * $7::bigint AS start,
    CASE WHEN 'project_id' = ANY ($8::text[]) THEN project_id END AS project_id,
    CASE WHEN 'api_key_id' = ANY ($8) THEN key_id END AS key_id,
    CASE WHEN 'model' = ANY ($8) THEN model END AS model,
    CASE WHEN 'assistant_id' = ANY ($8) THEN assistant_id END AS assistant_id,
    count(*) AS runs,
    count(*) FILTER (WHERE status = 'completed') AS completed,
    count(*) FILTER (WHERE status = 'incomplete') AS incomplete,
    count(*) FILTER (WHERE status = 'failed') AS failed,
    count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
    count(*) FILTER (WHERE status = 'expired') AS expired,
    percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (
        ORDER BY (extract(epoch FROM ended_at - created_at) * 1000)::float
    ) FILTER (WHERE status IN ('completed', 'incomplete')) AS run_ms,
    percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (
        ORDER BY (extract(epoch FROM started_at - created_at) * 1000)::float
    ) FILTER (WHERE started_at IS NOT NULL) AS wait_ms
FROM run_outcomes
WHERE ended_at >= $1 AND ended_at < $2
    AND ($3::text[] IS NULL OR project_id = ANY ($3))
    AND ($4::text[] IS NULL OR key_id = ANY ($4))
    AND ($5::text[] IS NULL OR model = ANY ($5))
    AND ($6::text[] IS NULL OR assistant_id = ANY ($6))
GROUP BY 1, 2, 3, 4, 5
ORDER BY 1, 2, 3, 4, 5;

-- name: failures_projects
-- The causes of ends without a whole answer, with the newest run of each, in the different projects $3. Other parameters
-- as those of `report`; $7 are the groups beside the cause, and $9 is the bound of runs of a project.
SELECT
    status, cause,
    CASE WHEN 'model' = ANY ($7::text[]) THEN model END AS model,
    CASE WHEN 'assistant_id' = ANY ($7) THEN assistant_id END AS assistant_id,
    count(*) AS runs,
    (array_agg(thread_id ORDER BY ended_at DESC, run_id))[1] AS thread_id,
    (array_agg(run_id ORDER BY ended_at DESC, run_id))[1] AS run_id,
    max(ended_at) AS ended_at
FROM unnest($3::text[]) AS asked (project_id)
CROSS JOIN LATERAL (
    SELECT status, cause, model, assistant_id, key_id, thread_id, run_id, ended_at FROM run_outcomes
    WHERE project_id = asked.project_id AND ended_at >= $1 AND ended_at < $2
        AND status IN ('failed', 'incomplete', 'expired')
    ORDER BY ended_at DESC
    LIMIT $9
) AS failed
WHERE ($4::text[] IS NULL OR key_id = ANY ($4))
    AND ($5::text[] IS NULL OR model = ANY ($5))
    AND ($6::text[] IS NULL OR assistant_id = ANY ($6))
GROUP BY 1, 2, 3, 4
ORDER BY runs DESC, ended_at DESC
LIMIT $8;

-- name: failures_all
-- The same of all projects; $3 is null, and $9 the bound of all runs.
SELECT
    status, cause,
    CASE WHEN 'model' = ANY ($7::text[]) THEN model END AS model,
    CASE WHEN 'assistant_id' = ANY ($7) THEN assistant_id END AS assistant_id,
    count(*) AS runs,
    (array_agg(thread_id ORDER BY ended_at DESC, run_id))[1] AS thread_id,
    (array_agg(run_id ORDER BY ended_at DESC, run_id))[1] AS run_id,
    max(ended_at) AS ended_at
FROM (
    SELECT status, cause, model, assistant_id, key_id, thread_id, run_id, ended_at FROM run_outcomes
    WHERE ended_at >= $1 AND ended_at < $2 AND status IN ('failed', 'incomplete', 'expired') AND $3::text[] IS NULL
    ORDER BY ended_at DESC
    LIMIT $9
) AS failed
WHERE ($4::text[] IS NULL OR key_id = ANY ($4))
    AND ($5::text[] IS NULL OR model = ANY ($5))
    AND ($6::text[] IS NULL OR assistant_id = ANY ($6))
GROUP BY 1, 2, 3, 4
ORDER BY runs DESC, ended_at DESC
LIMIT $8;

-- name: uncounted_projects
-- The latest end of a run that `failures_projects` does not count, if it counts $4 runs of each project at most.
SELECT max(first.ended_at)
FROM unnest($3::text[]) AS asked (project_id)
CROSS JOIN LATERAL (
    SELECT ended_at FROM run_outcomes
    WHERE project_id = asked.project_id AND ended_at >= $1 AND ended_at < $2
        AND status IN ('failed', 'incomplete', 'expired')
    ORDER BY ended_at DESC
    LIMIT 1 OFFSET $4
) AS first;

-- name: uncounted_all
SELECT ended_at FROM run_outcomes
WHERE ended_at >= $1 AND ended_at < $2 AND status IN ('failed', 'incomplete', 'expired') AND $3::text[] IS NULL
ORDER BY ended_at DESC
LIMIT 1 OFFSET $4;

-- name: active (a declared fan-out over the runs that are active now)
SELECT status, count(*) AS count FROM active_runs
WHERE $1::text[] IS NULL OR project_id = ANY ($1)
GROUP BY status;
