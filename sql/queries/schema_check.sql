-- name: search_path (the schemas in which this connection looks for relations and functions, in order)
SELECT current_schemas(true) AS schemas, current_schema() AS schema,
    current_setting('session_replication_role') AS replication_role;

-- name: tables
-- The relations that the names $1 stand for, and what makes one of them another thing than a plain table with a key.
SELECT name, namespace.nspname AS schema, relation.relkind <> 'r' AS is_special,
    relation.relpersistence <> 'p' AS is_unlogged,
    relation.relrowsecurity OR EXISTS (SELECT FROM pg_policy WHERE polrelid = relation.oid) AS has_policies,
    EXISTS (SELECT FROM pg_trigger WHERE tgrelid = relation.oid AND NOT tgisinternal) AS has_triggers,
    EXISTS (SELECT FROM pg_rewrite WHERE ev_class = relation.oid) AS has_rules,
    EXISTS (SELECT FROM pg_inherits WHERE relation.oid IN (inhparent, inhrelid)) AS has_relatives,
    EXISTS (SELECT FROM pg_attribute WHERE attrelid = relation.oid AND attgenerated <> '') AS has_generated_columns,
    NOT EXISTS (
        SELECT FROM pg_index
        WHERE indrelid = relation.oid AND indisprimary AND indisvalid AND indisready AND indislive
    ) AS has_no_key
FROM unnest($1::text[]) AS name
LEFT JOIN pg_class AS relation ON relation.oid = to_regclass(quote_ident(name))
LEFT JOIN pg_namespace AS namespace ON namespace.oid = relation.relnamespace
ORDER BY name;

-- name: functions
-- Functions and operators that no extension has and that stand for those of PostgreSQL: they have their names and are in a
-- schema that is searched, or they are in PostgreSQL's own schema. Its own have the lowest numbers. Casts between its types
-- do the same.
SELECT DISTINCT identified.type || ' ' || identified.identity AS object
FROM (
    SELECT 'pg_proc'::regclass AS catalog, oid, pronamespace AS namespace,
        EXISTS (
            SELECT FROM pg_proc AS other
            WHERE other.proname = pg_proc.proname AND other.pronamespace = 'pg_catalog'::regnamespace AND other.oid < 16384
        ) AS has_name
    FROM pg_proc WHERE oid >= 16384
    UNION ALL
    SELECT 'pg_operator'::regclass, oid, oprnamespace,
        EXISTS (
            SELECT FROM pg_operator AS other
            WHERE other.oprname = pg_operator.oprname AND other.oprnamespace = 'pg_catalog'::regnamespace
                AND other.oid < 16384
        )
    FROM pg_operator WHERE oid >= 16384
    UNION ALL
    SELECT 'pg_cast'::regclass, oid, 'pg_catalog'::regnamespace, true
    FROM pg_cast WHERE oid >= 16384 AND castsource < 16384 AND casttarget < 16384
) AS found
CROSS JOIN LATERAL pg_identify_object(catalog, found.oid, 0) AS identified
WHERE NOT EXISTS (SELECT FROM pg_depend WHERE classid = catalog AND objid = found.oid AND deptype = 'e')
    AND (
        namespace = 'pg_catalog'::regnamespace
        OR (has_name AND namespace IN (SELECT unnest(current_schemas(false))::regnamespace))
    )
ORDER BY object;

-- name: replaced_functions
-- Functions of PostgreSQL that somebody wrote again in another language: those of operators between values of one type or
-- of integers, those of casts, and those with names $1. PostgreSQL itself has such ones in C only (but for circles).
-- And its aggregates, if they call functions of others.
SELECT identified.type || ' ' || identified.identity AS object
FROM (
    SELECT pg_proc.oid FROM pg_proc JOIN pg_language ON pg_language.oid = prolang
    WHERE pg_proc.oid < 16384 AND lanname NOT IN ('internal', 'c') AND (
        proname = ANY ($1::text[])
        OR EXISTS (
            SELECT FROM pg_operator
            WHERE oprcode = pg_proc.oid AND pg_operator.oid < 16384 AND (
                oprleft = oprright
                OR (oprleft::regtype::text, oprright::regtype::text) IN (
                    SELECT a, b
                    FROM unnest(ARRAY ['smallint', 'integer', 'bigint']) AS a,
                        unnest(ARRAY ['smallint', 'integer', 'bigint']) AS b
                )
            )
        )
        OR EXISTS (SELECT FROM pg_cast WHERE castfunc = pg_proc.oid AND castsource <> 'circle'::regtype)
    )
    UNION ALL
    SELECT aggfnoid::oid FROM pg_aggregate
    WHERE aggfnoid::oid < 16384
        AND greatest(aggtransfn::oid, aggfinalfn::oid, aggcombinefn::oid, aggmtransfn::oid, aggmfinalfn::oid) >= 16384
) AS found
CROSS JOIN LATERAL pg_identify_object('pg_proc'::regclass, found.oid, 0) AS identified
ORDER BY object;

-- name: view_definition
SELECT pg_get_viewdef(to_regclass($1));
