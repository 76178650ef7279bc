-- name: keepalive
-- Postgres notices within 11 s that a client's machine is unreachable, and releases its lock. The default is two hours.
SELECT set_config('tcp_keepalives_idle', '5', false), set_config('tcp_keepalives_interval', '2', false),
    set_config('tcp_keepalives_count', '3', false), set_config('tcp_user_timeout', '11000', false);

-- name: hold
SELECT pg_try_advisory_lock($1, $2);

-- name: live
-- The time of the last query is unknown if the session belongs to a role of which this one may not see the activity.
SELECT objid::bigint AS process, query_start AS last_query
FROM pg_locks LEFT JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND classid = $1::integer::oid AND objsubid = 2 AND granted
  AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database());

-- name: server_age
-- The seconds since Postgres itself was started.
SELECT extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())::float8;

-- name: holders
-- The processes that hold work, by the views.
SELECT process FROM active_runs WHERE process IS NOT NULL
UNION SELECT process FROM vector_store_files WHERE status = 'in_progress' AND process IS NOT NULL
UNION SELECT process FROM webhook_work WHERE process IS NOT NULL;

-- name: release
SELECT pg_advisory_unlock($1, $2);

-- name: notify
SELECT pg_notify($1, $2);
