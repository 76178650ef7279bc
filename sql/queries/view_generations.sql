-- name: newest_epoch
SELECT COALESCE(max(epoch), 0) FROM view_generations;

-- name: states
SELECT view, generation, state FROM view_generations;

-- name: make_live (false if another process has done so)
WITH changed AS (
    UPDATE view_generations SET state = 'live' WHERE view = $1 AND generation = $2 AND state = 'building' RETURNING true
)
SELECT EXISTS (SELECT FROM changed);
