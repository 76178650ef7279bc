-- name: hold
SELECT pg_try_advisory_lock($1, $2);

-- name: live
SELECT objid::bigint AS process FROM pg_locks
WHERE locktype = 'advisory' AND classid = $1::integer::oid AND objsubid = 2 AND granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database());

-- name: notify
SELECT pg_notify($1, $2);
