-- The tables of vectors, one for each embedding model, are made at run time. They and their indexes are in a schema of
-- their own, which belongs to the service's role, so that this role needs no right on the schema of the other tables.
-- A role that may not create schemas gets it from its database's owner (CREATE SCHEMA search AUTHORIZATION …).
DO $$
DECLARE
    part regclass;
BEGIN
    IF to_regnamespace('search') IS NULL THEN
        CREATE SCHEMA search;
    END IF;
    FOR part IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 'vectors'::regclass LOOP
        EXECUTE format('ALTER TABLE %s SET SCHEMA search', part);
    END LOOP;
END
$$;
