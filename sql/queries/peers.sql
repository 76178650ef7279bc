-- name: keepalive
-- A machine that vanished is noticed within some 11 s, and its lock falls; the operating system's default is two hours.
SELECT set_config('tcp_keepalives_idle', '5', false), set_config('tcp_keepalives_interval', '2', false),
    set_config('tcp_keepalives_count', '3', false), set_config('tcp_user_timeout', '11000', false);

-- name: hold
SELECT pg_try_advisory_lock($1, $2);

-- name: live
SELECT objid::bigint AS process FROM pg_locks
WHERE locktype = 'advisory' AND classid = $1::integer::oid AND objsubid = 2 AND granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database());

-- name: notify
SELECT pg_notify($1, $2);
