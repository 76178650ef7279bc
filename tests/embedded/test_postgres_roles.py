"""The roles of the embedded Postgres: their rights, the upgrade of older data, and the accounts that may use them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from service.database import connect, open_pool
from service.embedded.postgres import EmbeddedPostgres
from service.embedded.postgres_roles import OWNER_ROLE, SERVICE_ROLE
from service.embedded.postgres_runtime import find_runtime
from service.migrations import prepare_database
from service.search.vector_tables import VectorTables
from sql.connection import Connection

pytestmark = pytest.mark.embedded
NOBODY = 65534
# The tables of the log that only grow, and the rights on the other tables that are not open to all changes of rows.
APPEND_ONLY = ("events", "log_ranges", "log_tiles", "log_epochs", "log_checkpoints", "log_attestations")
NARROW = {
    **{table: {"SELECT", "INSERT"} for table in APPEND_ONLY},
    "log_pending": {"SELECT", "INSERT", "DELETE"},
    "log_latest": {"SELECT", "UPDATE"},
    "migrations": {"SELECT"},
    "pending_rebuilds": {"SELECT"},
    "events_readable": {"SELECT"},
    "threads_with_attachments": {"SELECT"},
}
CHANGES_OF_THE_LOG = tuple(
    statement.format(table)
    for table in APPEND_ONLY
    for statement in (
        "DELETE FROM {}",
        "TRUNCATE {}",
        "DROP TABLE {}",
        "SELECT 1; LOCK TABLE {} IN ACCESS EXCLUSIVE MODE",
        "ALTER TABLE {} OWNER TO everthread",
        "ALTER TABLE {} RENAME TO mine",
        "ALTER TABLE {} ADD COLUMN mine int",
        "ALTER TABLE {} ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE {} SET SCHEMA search",
        "CREATE RULE mine AS ON INSERT TO {} DO INSTEAD NOTHING",
        "CREATE POLICY mine ON {} USING (false)",
        "CREATE TABLE search.mine () INHERITS ({})",
        "COPY {} TO PROGRAM 'cat'",
        "COPY {} TO '/tmp/mine'",
        "COPY {} FROM '/tmp/mine'",
        "COMMENT ON TABLE {} IS 'mine'",
        "MERGE INTO {} USING (SELECT 1) AS s ON true WHEN MATCHED THEN DELETE",
    )
)
FORBIDDEN = (
    "UPDATE events SET content = ''",
    "UPDATE events SET at = at WHERE false",
    "UPDATE log_ranges SET leaves = ''",
    "UPDATE log_tiles SET hashes = ''",
    "UPDATE log_epochs SET origin = 'x'",
    "UPDATE log_checkpoints SET note = ''",
    "UPDATE log_attestations SET data = ''",
    "UPDATE log_pending SET leaves = ''",
    "DELETE FROM log_latest",
    "SELECT FROM events FOR UPDATE",
    "INSERT INTO log_tiles VALUES (1, 0, 0, '', '') ON CONFLICT (epoch, level, number) DO UPDATE SET hashes = ''",
    "DELETE FROM events_readable",
    "UPDATE events_readable SET actor = 'x'",
    "DROP VIEW events_readable",
    "CREATE OR REPLACE VIEW events_readable AS SELECT 1",
    *CHANGES_OF_THE_LOG,
    "CREATE TABLE public.mine (n int)",
    "CREATE SCHEMA mine",
    "CREATE ROLE mine",
    "CREATE DATABASE mine",
    "DROP EXTENSION vector",
    "CREATE FUNCTION public.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "ALTER TABLE events ADD COLUMN mine int",
    "ALTER TABLE events DISABLE TRIGGER ALL",
    "CREATE TRIGGER mine BEFORE INSERT ON events EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE INDEX ON events (type)",
    "TRUNCATE events",
    "DROP TABLE events",
    "DROP SCHEMA public CASCADE",
    "UPDATE migrations SET name = 'x'",
    "DELETE FROM migrations",
    "INSERT INTO migrations (name) VALUES ('x')",
    "COPY events TO PROGRAM 'cat'",
    "COPY events TO '/tmp/events'",
    "SET session_replication_role = replica",
    "SET ROLE everthread_owner",
    "SELECT pg_read_file('PG_VERSION')",
    "ALTER ROLE everthread SUPERUSER",
    "GRANT everthread_owner TO everthread",
)


RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")
# Also true if the right is one on a column.
_HAS_RIGHT = """
SELECT has_table_privilege($1, $2) OR ($2 IN ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES')
    AND has_any_column_privilege($1, $2))
"""


@pytest.fixture
async def postgres(tmp_path: Path) -> AsyncIterator[EmbeddedPostgres]:
    embedded = EmbeddedPostgres(tmp_path, durable=False)
    await embedded.start()
    yield embedded
    await embedded.stop()


async def roles(db: Connection) -> dict[str, bool]:
    """Returns the roles that can connect, and whether each is a superuser."""
    return dict(await db.fetch("SELECT rolname, rolsuper FROM pg_roles WHERE rolcanlogin"))


async def _refusal(db: Connection, statement: str) -> str | None:
    """Returns the SQLSTATE with which Postgres refuses a statement, None if it carries the statement out."""
    try:
        await db.execute(statement)
    except asyncpg.PostgresError as error:
        return str(error.sqlstate)
    return None


async def test_the_service_can_do_its_work_and_nothing_else(postgres: EmbeddedPostgres) -> None:
    await prepare_database(postgres.urls.owner, service_role=SERVICE_ROLE)
    await prepare_database(postgres.urls.service)
    pool = await open_pool(postgres.urls.service)
    async with pool.acquire() as db:
        assert await roles(db) == {OWNER_ROLE: True, SERVICE_ROLE: False}
        for statement in FORBIDDEN:
            assert await _refusal(db, statement) == "42501", statement
        for name in APPEND_ONLY:
            # A warning only: it grants nothing, as the rights below show.
            await db.execute(f"GRANT ALL ON {name} TO everthread")
        tables = await db.fetch(
            "SELECT oid::regclass::text AS name, pg_get_userbyid(relowner) AS owner FROM pg_class"
            " WHERE relkind IN ('r', 'p', 'v') AND relnamespace::regnamespace::text IN ('public', 'search')"
        )
        assert {row["name"] for row in tables if row["owner"] == SERVICE_ROLE} == {"vectors"}
        for row in tables:
            await db.execute(f"SELECT 1 FROM {row['name']} LIMIT 1")
            if row["name"] != "vectors":
                rights = {right for right in RIGHTS if await db.fetchval(_HAS_RIGHT, row["name"], right)}
                assert rights == NARROW.get(row["name"], {"SELECT", "INSERT", "UPDATE", "DELETE"}), row["name"]
    table = await VectorTables(pool).find_or_create("letters", 3)
    owner = await pool.fetchval("SELECT tableowner FROM pg_tables WHERE tablename = $1", f"vectors_{table.model_id}")
    assert owner == SERVICE_ROLE
    # As several workers do that start at the same time.
    urls = [postgres.urls.owner] * 8
    await asyncio.gather(*(prepare_database(url, service_role=SERVICE_ROLE) for url in urls))
    pool.terminate()


async def test_data_of_an_older_release_is_upgraded(tmp_path: Path) -> None:
    """Before roles were divided, `everthread` was the superuser that made the cluster, and there was no other role."""
    old = EmbeddedPostgres(tmp_path, durable=False)
    db = await connect(await old.start())
    await db.execute("CREATE TABLE kept AS SELECT 7 AS n; CREATE ROLE helper SUPERUSER LOGIN; DROP ROLE everthread")
    await db.execute("SET SESSION AUTHORIZATION helper; ALTER ROLE everthread_owner RENAME TO everthread")
    await db.execute("RESET SESSION AUTHORIZATION; DROP ROLE helper")
    assert await roles(db) == {"everthread": True}
    await db.close()
    await old.stop()
    for name in ("pg_hba.conf", "pg_ident.conf"):
        (tmp_path / "postgres" / "18" / name).write_text("local all all trust\n" if "hba" in name else "")
    for _ in range(2):
        new = EmbeddedPostgres(tmp_path, durable=False)
        await new.start()
        await prepare_database(new.urls.owner, service_role=SERVICE_ROLE)
        owner, service = await connect(new.urls.owner), await connect(new.urls.service)
        assert await roles(owner) == {OWNER_ROLE: True, SERVICE_ROLE: False}
        assert await service.fetchval("SELECT n FROM kept") == 7
        assert await owner.fetchval("SELECT tableowner FROM pg_tables WHERE tablename = 'kept'") == OWNER_ROLE
        await owner.close()
        await service.close()
        await new.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another account")
async def test_other_accounts_cannot_connect() -> None:
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        home.chmod(0o711)
        postgres = EmbeddedPostgres(home, durable=False)
        folder = parse_qs(urlsplit(await postgres.start()).query)["host"][0]
        # The folders keep others out too; here only the map does.
        for path in (folder, home / "postgres", home / "postgres" / "18"):
            Path(path).chmod(0o755)
        psql = find_runtime(home / "none").bin / "psql"
        for role in (OWNER_ROLE, SERVICE_ROLE):
            command = [str(psql), "-h", folder, "-U", role, "-d", "everthread", "-Atc", "SELECT 1"]
            allowed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            refused = subprocess.run(
                command, capture_output=True, text=True, timeout=60, check=False, user=NOBODY, group=NOBODY
            )
            assert allowed.stdout == "1\n", allowed.stderr
            assert f'Peer authentication failed for user "{role}"' in refused.stderr
        await postgres.stop()
