-- name: role_exists
SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1);

-- name: create_service_role
CREATE ROLE everthread LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;

-- name: database_exists
SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1);

-- name: create_database
CREATE DATABASE everthread;

-- name: create_upgrade_role (for a moment: no session can rename its own user)
CREATE ROLE everthread_upgrade SUPERUSER;

-- name: become_upgrade_role
SET LOCAL SESSION AUTHORIZATION everthread_upgrade;

-- name: rename_superuser (of a cluster of version 0.2.0 or older)
ALTER ROLE everthread RENAME TO everthread_owner;

-- name: end_upgrade_role
RESET SESSION AUTHORIZATION;

-- name: drop_upgrade_role
DROP ROLE everthread_upgrade;

-- name: name_service_role (for `grant`, until the end of the transaction)
SELECT set_config('everthread.service_role', $1, true);

-- name: grant (the rights of the service on the tables of the owner who runs this: rows of all tables but the lists of
-- migrations, and nothing of the schema. It can add to the log but change nothing of it, also not through a view, which
-- has its owner's rights. The tables of vectors, which are made at run time, are its own)
DO $$
DECLARE
    service text := current_setting('everthread.service_role');
    relation regclass;
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), service);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %I TO %I', current_schema(), service);
    EXECUTE format('REVOKE INSERT, UPDATE, DELETE ON migrations, pending_rebuilds FROM %I', service);
    FOREACH relation IN ARRAY '{events, log_ranges, log_tiles, log_epochs, log_checkpoints, log_attestations}'::regclass[] LOOP
        EXECUTE format('REVOKE ALL ON %s FROM %I, PUBLIC', relation, service);
        EXECUTE format('GRANT SELECT, INSERT ON %s TO %I', relation, service);
    END LOOP;
    EXECUTE format('REVOKE UPDATE ON log_pending FROM %I', service);
    EXECUTE format('REVOKE INSERT, DELETE ON log_latest FROM %I', service);
    FOR relation IN
        SELECT oid FROM pg_class WHERE relkind IN ('v', 'm') AND relnamespace = current_schema()::regnamespace
            AND pg_get_userbyid(relowner) = current_user
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM %I, PUBLIC', relation, service);
        EXECUTE format('GRANT SELECT ON %s TO %I', relation, service);
    END LOOP;
    EXECUTE format('GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA %I TO %I', current_schema(), service);
    EXECUTE format('ALTER SCHEMA search OWNER TO %I', service);
    FOR relation IN
        SELECT relid FROM pg_partition_tree('vectors') JOIN pg_class ON oid = relid
        WHERE pg_get_userbyid(relowner) <> service
    LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO %I', relation, service);
    END LOOP;
END
$$;
