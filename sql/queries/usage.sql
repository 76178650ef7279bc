-- name: lock (the progress; no row if another process works on it)
SELECT epoch, next_index, (SELECT max(epoch) FROM log_epochs) AS current_epoch
FROM usage_progress
FOR UPDATE SKIP LOCKED;

-- name: wait (for the progress, also if another process works on it)
SELECT epoch, next_index, (SELECT max(epoch) FROM log_epochs) AS current_epoch
FROM usage_progress
FOR UPDATE;

-- name: forget (all rows but those of erased threads, which cannot be made again; a declared fan-out, after a restore)
WITH no_calls AS (
    DELETE FROM usage_calls WHERE NOT EXISTS (SELECT FROM erasures WHERE stream_id = thread_id AND erased_version > 0)
)
DELETE FROM usage_runs WHERE NOT EXISTS (SELECT FROM erasures WHERE stream_id = thread_id AND erased_version > 0);

-- name: begin (the epoch $1)
UPDATE usage_progress SET epoch = $1, next_index = 0;

-- name: move
UPDATE usage_progress SET next_index = $1;

-- name: add_runs
INSERT INTO usage_runs (thread_id, run_id, project_id, key_id, assistant_id, model)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
ON CONFLICT DO NOTHING;

-- name: add_calls
INSERT INTO usage_calls (
    thread_id, version, run_id, project_id, key_id, assistant_id, model, at, input_tokens, cached_tokens, output_tokens
)
SELECT thread_id, version, run_id, project_id, key_id, assistant_id, model, at, input, cached, output
FROM unnest($1::text[], $2::bigint[], $3::text[], $4::timestamptz[], $5::bigint[], $6::bigint[], $7::bigint[])
    AS new (thread_id, version, run_id, at, input, cached, output)
JOIN usage_runs USING (thread_id, run_id)
ON CONFLICT DO NOTHING;

-- name: report
-- Sums of the calls from $1 until before $2, in steps of $3 seconds from the epoch of Unix. $4 to $6 are filters; null
-- lets all through. A column is null in the answer if $7 does not name it.
SELECT
    floor(extract(epoch FROM at) / $3::bigint)::bigint * $3::bigint AS start,
    CASE WHEN 'project_id' = ANY ($7::text[]) THEN project_id END AS project_id,
    CASE WHEN 'api_key_id' = ANY ($7) THEN key_id END AS key_id,
    CASE WHEN 'model' = ANY ($7) THEN model END AS model,
    CASE WHEN 'assistant_id' = ANY ($7) THEN assistant_id END AS assistant_id,
    CASE WHEN 'run_id' = ANY ($7) THEN thread_id END AS thread_id,
    CASE WHEN 'run_id' = ANY ($7) THEN run_id END AS run_id,
    sum(input_tokens)::bigint AS input_tokens,
    sum(cached_tokens)::bigint AS cached_tokens,
    sum(output_tokens)::bigint AS output_tokens,
    count(*) AS calls
FROM usage_calls
WHERE at >= $1 AND at < $2
    AND ($4::text[] IS NULL OR project_id = ANY ($4))
    AND ($5::text[] IS NULL OR key_id = ANY ($5))
    AND ($6::text[] IS NULL OR model = ANY ($6))
GROUP BY 1, 2, 3, 4, 5, 6, 7
ORDER BY 1, 2, 3, 4, 5, 6, 7;
