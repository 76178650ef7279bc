"""Changes of the tables themselves, which would give every reader other rows than those that they hold."""

from __future__ import annotations

import asyncpg
import pytest

from service.audit.schema_check import check_schema, table_names, view_texts
from service.database import connect
from sql.connection import Connection

COPY = "CREATE SCHEMA evil; CREATE TABLE evil.{0} (LIKE {0} INCLUDING ALL); INSERT INTO evil.{0} SELECT * FROM {0};"
TRIGGER = "CREATE FUNCTION forge() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
CHANGES = {
    "a view in the place of a table": (
        "ALTER TABLE events RENAME TO events_of_old; CREATE VIEW events AS SELECT * FROM events_of_old",
        "the table events is no plain table any more",
    ),
    "a materialized view in the place of a table": (
        "ALTER TABLE key_uses RENAME TO key_uses_of_old; CREATE MATERIALIZED VIEW key_uses AS TABLE key_uses_of_old",
        "the table key_uses is no plain table any more",
    ),
    "a partitioned table": (
        "ALTER TABLE steps RENAME TO steps_of_old;"
        "CREATE TABLE steps (LIKE steps_of_old) PARTITION BY LIST (thread_id);"
        "ALTER TABLE steps ATTACH PARTITION steps_of_old DEFAULT",
        "the table steps is no plain table any more",
    ),
    "a table that inherits": (
        "CREATE TABLE more_messages () INHERITS (messages)",
        "the table messages inherits rows or passes them on",
    ),
    "a table that was removed": ("DROP TABLE webhook_deliveries", "the table webhook_deliveries is missing"),
    "policies": (
        "ALTER TABLE messages ENABLE ROW LEVEL SECURITY; CREATE POLICY all_rows ON messages USING (true)",
        "the table messages has policies",
    ),
    "policies that wait": ("CREATE POLICY all_rows ON messages USING (true)", "the table messages has policies"),
    "a trigger": (
        f"{TRIGGER} CREATE TRIGGER forge BEFORE INSERT ON runs FOR EACH ROW EXECUTE FUNCTION forge()",
        "the table runs has triggers",
    ),
    "a rule": ("CREATE RULE keep AS ON DELETE TO log_pending DO INSTEAD NOTHING", "the table log_pending has rules"),
    "a computed column": (
        "ALTER TABLE assistants ADD COLUMN other text GENERATED ALWAYS AS ('x') STORED",
        "the table assistants has columns that are computed",
    ),
    "an unlogged table": ("ALTER TABLE log_ranges SET UNLOGGED", "the table log_ranges does not survive a crash"),
    "no key": ("ALTER TABLE streams DROP CONSTRAINT streams_pkey", "the table streams has no valid primary key"),
    "a key that is not valid": (
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'streams_pkey'::regclass",
        "the table streams has no valid primary key",
    ),
    "a function of the same name": (
        "CREATE FUNCTION convert_to(text, text) RETURNS bytea LANGUAGE sql AS 'SELECT NULL::bytea'",
        "the function public.convert_to(",
    ),
    "a function in PostgreSQL's schema": (
        "CREATE FUNCTION pg_catalog.hash_of(bytea) RETURNS bytea LANGUAGE sql AS 'SELECT $1'",
        "the function pg_catalog.hash_of(",
    ),
    "an operator of the same name": (
        "CREATE FUNCTION always(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';"
        "CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = text, FUNCTION = always)",
        "the operator public.=(",
    ),
    "a cast between types of PostgreSQL": (
        "CREATE FUNCTION bytes_of(text) RETURNS bytea LANGUAGE sql AS 'SELECT NULL::bytea';"
        "CREATE CAST (text AS bytea) WITH FUNCTION bytes_of(text) AS IMPLICIT",
        "the cast (pg_catalog.text AS pg_catalog.bytea) stands for one of PostgreSQL",
    ),
    "a function of an operator": (
        "CREATE OR REPLACE FUNCTION pg_catalog.text_gt(text, text) RETURNS boolean LANGUAGE sql IMMUTABLE AS"
        " $$ SELECT $1 <> 'thread_hidden' AND NOT $1 <= $2 $$",
        "the function pg_catalog.text_gt(pg_catalog.text,pg_catalog.text) of PostgreSQL was replaced",
    ),
    "a function of an operator between integers": (
        "CREATE OR REPLACE FUNCTION pg_catalog.int84eq(bigint, integer) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
        "the function pg_catalog.int84eq(",
    ),
    "a function of PostgreSQL": (
        "CREATE OR REPLACE FUNCTION pg_catalog.sha256(bytea) RETURNS bytea LANGUAGE sql AS 'SELECT $1'",
        "the function pg_catalog.sha256(",
    ),
    "an aggregate of PostgreSQL": (
        "CREATE FUNCTION first_of(bigint, bigint) RETURNS bigint LANGUAGE sql AS 'SELECT 0::bigint';"
        "CREATE OR REPLACE AGGREGATE pg_catalog.max(bigint) (SFUNC = first_of, STYPE = bigint)",
        "the aggregate pg_catalog.max(",
    ),
    "a changed view of threads": (
        "CREATE OR REPLACE VIEW threads_with_attachments AS SELECT thread_id, project_id, created_at, body, patches,"
        " has_own_store, ARRAY[]::bytea[] AS attached FROM threads",
        "the view threads_with_attachments was changed",
    ),
    "a view of the log that hides an event": (
        "CREATE OR REPLACE VIEW events_readable AS SELECT stream_id, version, type, at, project_id, actor, request_id,"
        " cause, convert_from(substr(content, 33), 'UTF8')::json AS content FROM events WHERE version <> 2",
        "the view events_readable was changed",
    ),
    "a view that was removed": ("DROP VIEW events_readable", "the view events_readable was changed"),
}
# Changes that a new connection gets from its database or its role.
OF_CONNECTIONS = {
    "one table elsewhere": (
        f"{COPY.format('request_clients')} ALTER DATABASE {{database}} SET search_path = evil, public",
        "the table request_clients is in the schema evil, and events in public",
    ),
    "functions before those of PostgreSQL": (
        "CREATE SCHEMA evil; ALTER DATABASE {database} SET search_path = evil, public, pg_catalog",
        "other functions can stand for those of PostgreSQL",
    ),
    "constraints that are not checked": (
        "ALTER DATABASE {database} SET session_replication_role = 'replica'",
        "session_replication_role is replica",
    ),
}


async def faults(db: Connection) -> list[str]:
    return [str(fault) for fault in await check_schema(db, has_views=True)]


async def test_an_untouched_schema_has_no_faults(db: Connection) -> None:
    assert await faults(db) == []
    assert await db.fetchval("SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema()") == 0


async def test_every_table_is_known(db: Connection) -> None:
    tables = await db.fetch(
        "SELECT relname, relkind, relpersistence FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    )
    plain = {row["relname"]: row["relpersistence"] for row in tables if row["relkind"] == b"r"}
    # Nothing that is verified depends on a table without a log of its own.
    assert {name for name, persistence in plain.items() if persistence != b"p"} == {
        "live_deltas",
        "thread_words",
        "thread_word_progress",
    }
    assert {name for name, persistence in plain.items() if persistence == b"p"} == {*table_names()}
    assert {row["relname"] for row in tables if row["relkind"] == b"v"} == {*view_texts()}


@pytest.mark.parametrize("case", CHANGES)
async def test_a_change_of_the_schema_is_named(case: str, db: Connection) -> None:
    change, expected = CHANGES[case]
    await db.execute(change)
    found = await faults(db)
    assert any(line.startswith(f"log: {expected}") for line in found), found


@pytest.mark.parametrize("case", OF_CONNECTIONS)
async def test_a_setting_of_all_connections_is_named(case: str, db: Connection, database_url: str) -> None:
    change, expected = OF_CONNECTIONS[case]
    database = await db.fetchval("SELECT quote_ident(current_database())")
    await db.execute(change.format(database=database))
    other: asyncpg.Connection = await connect(database_url)
    try:
        found = await faults(other)
    finally:
        await other.close()
    assert any(expected in line for line in found), found


async def test_functions_of_others_are_no_faults(db: Connection) -> None:
    """Another program may share the database."""
    await db.execute("CREATE FUNCTION its_own(text) RETURNS text LANGUAGE sql AS 'SELECT $1'; CREATE TABLE its_own ()")
    assert await faults(db) == []
