-- name: primary
-- The position in the log of Postgres at which the primary writes, in bytes, and its history: the cluster, the timeline
-- that it writes, and the name of the newest epoch of the audit log.
SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint AS position, system_identifier,
    ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::integer AS timeline,
    (SELECT origin FROM log_epochs ORDER BY epoch DESC LIMIT 1) AS origin
FROM pg_control_system();

-- name: replica
-- The position up to which a replica has replayed the log of Postgres, in bytes, and its history as in `primary`. Its
-- timeline is that of its newest restartpoint or of the newest page on its disk, so never newer than the replayed one.
SELECT pg_is_in_recovery() AS is_replica, (pg_last_wal_replay_lsn() - '0/0')::bigint AS position, system_identifier,
    greatest(timeline_id, min_recovery_end_timeline) AS timeline,
    (SELECT origin FROM log_epochs ORDER BY epoch DESC LIMIT 1) AS origin
FROM pg_control_system(), pg_control_checkpoint(), pg_control_recovery();
