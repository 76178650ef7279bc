-- name: written (the position in the log of Postgres at which the primary writes, in bytes)
SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint;

-- name: replayed (the position up to which a replica has replayed the log of Postgres, in bytes)
SELECT pg_is_in_recovery() AS is_replica, (pg_last_wal_replay_lsn() - '0/0')::bigint AS position;

-- name: origin (a random name of the installation)
SELECT origin FROM log_epochs ORDER BY epoch LIMIT 1;
