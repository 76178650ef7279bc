"""Migrations: frozen files, the path from every database that a commit on main ever created, and who may apply them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from structlog.testing import capture_logs

import sql
from events.thread.run_status import ACTIVE, TRANSITIONS
from service import migrations
from service.database import Pool, connect
from service.errors import StartupError
from service.migrations import migrate, plan_migrations, prepare_database
from sql import Migration, table_changes
from sql.connection import Connection
from tests.fixtures.postgres import empty_database
from tests.projections.helpers import make_thread, writer

FOLDER = Path(sql.__file__).parent / "migrations"
ALL = {migration.name: migration.sha256 for migration in sql.migrations()}
# In the order in which they landed on main, which is not that of their numbers.
LEGACY = (
    "0001_foundation.sql",
    "0002_files.sql",
    "0003_keys.sql",
    "0020_vector_stores.sql",
    "0030_metadata.sql",
    "0035_queue.sql",
    "0031_idempotency.sql",
    "0025_chunks.sql",
    "0032_signing.sql",
    "0036_webhooks.sql",
    "0042_uploads.sql",
    "0040_metadata_together.sql",
    "0041_webhook_secrets.sql",
)
# Two of them landed with another content at first. What 0001 lacked:
LATER_INDEXES = ("messages_of_runs", "runs_at_work", "steps_of_runs")
FIRST_SECRETS = "ALTER TABLE webhook_work ADD COLUMN previous_secret text, ADD COLUMN previous_until timestamptz;"
ENDPOINT = "INSERT INTO webhook_work (endpoint_id, secret) VALUES ('we_1', 'new'), ('we_2', 'only')"
PREVIOUS = "UPDATE webhook_work SET previous_secret = 'old', previous_until = '2027-01-01Z' WHERE endpoint_id = 'we_1'"

CATALOG = """
WITH mine AS (SELECT * FROM pg_class WHERE relnamespace = current_schema()::regnamespace)
SELECT concat_ws(' ', relkind, relname, reloptions) AS line FROM mine
UNION ALL
SELECT concat_ws(' ', 'column', relname, row_number() OVER (PARTITION BY attrelid ORDER BY attnum), attname,
                 format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated, pg_get_expr(adbin, adrelid))
FROM mine JOIN pg_attribute ON attrelid = mine.oid LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attnum > 0 AND NOT attisdropped AND relkind IN ('r', 'p', 'v')
UNION ALL
SELECT concat_ws(' ', 'index', relname, pg_get_indexdef(mine.oid)) FROM mine WHERE relkind IN ('i', 'I')
UNION ALL
SELECT concat_ws(' ', 'constraint', relname, conname, pg_get_constraintdef(pg_constraint.oid))
FROM mine JOIN pg_constraint ON conrelid = mine.oid
UNION ALL
SELECT concat_ws(' ', 'view', relname, pg_get_viewdef(mine.oid)) FROM mine WHERE relkind = 'v'
ORDER BY line
"""


def test_numbers_have_no_gap() -> None:
    names = [migration.name for migration in sql.migrations()]
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))
    assert {migration.name for migration in sql.legacy_migrations()} == {*LEGACY, "repairs.sql"}


def test_no_file_has_changed_since_it_landed() -> None:
    """A new migration adds a line to SHA256SUMS (`sha256sum`); the other lines never change."""
    lines = [line.split("  ") for line in (FOLDER / "SHA256SUMS").read_text().splitlines()]
    files = sorted(str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.sql"))
    assert sorted(name for _, name in lines) == files
    for expected, name in lines:
        assert sha256((FOLDER / name).read_bytes()).hexdigest() == expected, name


def test_a_new_database_gets_every_numbered_migration() -> None:
    plan = plan_migrations({})
    assert plan.legacy is None
    assert plan.numbered == sql.migrations()
    assert plan_migrations(ALL).is_empty


def test_a_legacy_database_gets_what_it_lacks_and_then_the_repairs() -> None:
    plan = plan_migrations({"0001_foundation.sql": None, "0042_uploads.sql": None})
    assert plan.legacy is not None
    assert [migration.name for migration in plan.legacy] == sorted({*LEGACY} - {LEGACY[0], "0042_uploads.sql"})
    assert plan.numbered == sql.migrations()[1:]
    upgraded = plan_migrations({**dict.fromkeys(LEGACY), **ALL})
    assert upgraded.is_empty


def test_a_gap_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    later = [*sql.migrations(), Migration("9998_b.sql", "", "b"), Migration("9999_c.sql", "", "c")]
    monkeypatch.setattr(sql, "migrations", lambda: later)
    with pytest.raises(StartupError, match=r"^The database lacks migration 9998_b\.sql, but has a later one\.$"):
        plan_migrations({**ALL, "9999_c.sql": "c"})


async def test_a_newer_database_is_refused(database_url: str, db: Connection) -> None:
    await db.execute("INSERT INTO migrations (name, sha256) VALUES ('0099_later.sql', 'x')")
    with pytest.raises(StartupError, match=r"^A newer version .* \(migration 0099_later\.sql\): start .* newer one\.$"):
        await prepare_database(database_url)


async def test_an_edited_migration_is_refused(database_url: str, db: Connection) -> None:
    await db.execute("UPDATE migrations SET sha256 = repeat('0', 64) WHERE name = '0001_baseline.sql'")
    with pytest.raises(StartupError, match=r"^Migration 0001_baseline\.sql of the database differs .*\.$"):
        await prepare_database(database_url)


async def test_two_processes_that_start_at_once_migrate_once(postgres: str) -> None:
    async with empty_database(postgres) as url:
        with capture_logs() as logs:
            await asyncio.gather(*(prepare_database(url) for _ in range(4)))
        started = [entry["migration"] for entry in logs if entry["event"] == "migration_started"]
        assert started == list(ALL)
        db = await connect(url)
        assert dict(await db.fetch("SELECT name, sha256 FROM migrations")) == ALL
        await db.close()


async def test_migrating_again_changes_nothing(db: Connection) -> None:
    before = await db.fetch("SELECT * FROM migrations")
    await migrate(db)
    assert await db.fetch("SELECT * FROM migrations") == before
    assert {row["name"]: row["sha256"] for row in before} == ALL


async def test_a_migration_that_waits_for_a_lock_lets_appends_pass(
    pool: Pool, db: Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(migrations._SQL, "limit_lock_wait", "SET LOCAL lock_timeout = '50ms'")
    monkeypatch.setattr(table_changes, "LOCK_PAUSE_S", 0.1)
    reader = await connect(database_url)
    reading = reader.transaction()
    await reading.start()
    await reader.execute("SELECT FROM streams")
    migration = Migration("9999_lock.sql", "LOCK TABLE streams IN ACCESS EXCLUSIVE MODE", "")
    with capture_logs() as logs:
        task = asyncio.create_task(migrations._apply(db, migration))
        async with asyncio.timeout(60):
            while not any(entry["event"] == "migration_waits" for entry in logs):
                await asyncio.sleep(0.01)
        await make_thread(writer(pool), "thread_1", "while the migration waits")
        await reading.rollback()
        await reader.close()
        await task
    assert await db.fetchval("SELECT count(*) FROM migrations WHERE name = '9999_lock.sql'") == 1


async def test_a_role_without_rights_serves_a_migrated_database(database_url: str, db: Connection) -> None:
    await db.execute("CREATE ROLE reader; GRANT SELECT ON migrations, pending_rebuilds TO reader")
    try:
        parts = urlsplit(database_url)
        await prepare_database(urlunsplit(parts._replace(query=parts.query + "&role=reader")))
    finally:
        await db.execute("DROP OWNED BY reader; DROP ROLE reader")


@pytest.fixture
async def empty(postgres: str) -> AsyncIterator[Connection]:
    """A connection to a database without migrations."""
    async with empty_database(postgres) as url:
        db = await connect(url)
        await db.execute("CREATE EXTENSION vector")
        yield db
        await db.close()


@pytest.mark.slow
async def test_every_legacy_schema_becomes_the_baseline(empty: Connection) -> None:
    """Starts from each set of migrations that main ever had, in both contents of those that were edited.

    Each case has a schema of its own, because it takes less time than a database.
    """
    await empty.execute("CREATE SCHEMA baseline; SET search_path TO baseline, public")
    await migrate(empty)
    expected = await _catalog(empty)
    assert len(expected) > 200
    for count in range(1, len(LEGACY) + 1):
        for is_edited in (False, True):
            name = f"legacy_{count}_{is_edited}"
            await empty.execute(f"CREATE SCHEMA {name}; SET search_path TO {name}, public")
            await _apply_legacy(empty, LEGACY[:count], is_edited)
            await migrate(empty)
            assert await _catalog(empty) == expected, name


async def test_runs_that_have_not_ended_are_active_after_the_upgrade(empty: Connection) -> None:
    later = next(migration for migration in sql.migrations() if migration.name.endswith("active_runs.sql"))
    await empty.execute(sql.queries("migrations")["create_pending_rebuilds"])
    for migration in sql.migrations()[: sql.migrations().index(later)]:
        await empty.execute(migration.text)
    for number, status in enumerate(sorted(TRANSITIONS)):
        await empty.execute(
            "INSERT INTO runs (thread_id, run_id, project_id, position, status, expires_at, process, body)"
            " VALUES ('thread_1', $1, 'proj_1', $2, $3, 7, 5, '')",
            *(f"run_{number}", number, status),
        )
    await empty.execute(later.text)
    rows = await empty.fetch("SELECT status, expires_at, process, project_id, position, run_id FROM active_runs")
    assert {tuple(row) for row in rows} == {
        (status, 7, 5, "proj_1", number, f"run_{number}")
        for number, status in enumerate(sorted(TRANSITIONS))
        if status in ACTIVE
    }


async def test_a_stream_that_cannot_be_rebuilt_is_named(pool: Pool, db: Connection) -> None:
    """The batches before it are kept, and the next start begins behind them."""
    await _list_streams(pool, db, 5)
    await db.execute("DELETE FROM events WHERE stream_id = 'thread_4'")
    with pytest.raises(StartupError, match=r"^The views of the stream thread_4 cannot be rebuilt .* no event 1\b"):
        await migrate(db)
    left = await db.fetch("SELECT stream_id FROM pending_rebuilds ORDER BY 1")
    assert [row["stream_id"] for row in left] == ["thread_4"]


async def test_a_long_rebuild_logs_its_progress(pool: Pool, db: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "REBUILD_LOG_EVERY_S", 0.0)
    await _list_streams(pool, db, 5)
    with capture_logs() as logs:
        await migrate(db)
    partly = [(entry["rebuilt"], entry["streams"]) for entry in logs if entry["event"] == "views_partly_rebuilt"]
    assert partly == [(2, 5), (4, 5), (5, 5)]
    assert all(entry["streams_per_s"] > 0 for entry in logs if entry["event"] == "views_partly_rebuilt")
    assert [entry["streams"] for entry in logs if entry["event"] == "views_rebuilt"] == [5]
    assert await db.fetchval("SELECT count(*) FROM threads") == 5


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "REBUILD_BATCH", 2)


async def _list_streams(pool: Pool, db: Connection, count: int) -> None:
    """Creates threads without rows, which wait for their rebuild."""
    for number in range(count):
        await make_thread(writer(pool), f"thread_{number}")
    await db.execute("DELETE FROM threads")
    await db.execute("INSERT INTO pending_rebuilds SELECT stream_id FROM streams WHERE kind = 'thread'")


async def test_secrets_that_were_replaced_stay_valid(empty: Connection) -> None:
    await _apply_legacy(empty, LEGACY, is_edited=False)
    await empty.execute(f"{ENDPOINT}; {PREVIOUS}")
    await migrate(empty)
    rows = await empty.fetch("SELECT secret, replaced_secrets, replaced_until FROM webhook_work ORDER BY endpoint_id")
    assert [row["secret"] for row in rows] == [b"new", b"only"]
    assert [row["replaced_secrets"] for row in rows] == [[b"old"], []]
    assert [[until.year for until in row["replaced_until"]] for row in rows] == [[2027], []]


async def test_an_upgrade_that_failed_continues(empty: Connection) -> None:
    """A crash after any legacy migration, or before the repairs, leaves a database that the next start upgrades."""
    await _apply_legacy(empty, LEGACY[:4], is_edited=True)
    await empty.execute("CREATE TABLE uploads_unfinished ()")  # in the way of an index of 0042_uploads.sql
    with pytest.raises(asyncpg.DuplicateTableError):
        await migrate(empty)
    await empty.execute("DROP TABLE uploads_unfinished")
    assert await empty.fetchval("SELECT count(*) FROM migrations") == len(LEGACY) - 1
    await migrate(empty)
    assert await empty.fetchval("SELECT count(*) FROM migrations") == len(LEGACY) + len(ALL)


async def _apply_legacy(db: Connection, names: Sequence[str], is_edited: bool) -> None:
    """Applies these migrations as version 0.1.0 did, with their last content or with the content that first landed."""
    await db.execute("CREATE TABLE migrations (name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())")
    legacy = {migration.name: migration.text for migration in sql.legacy_migrations()}
    if not is_edited:
        legacy[LEGACY[0]] += "".join(f"DROP INDEX {index};" for index in LATER_INDEXES)
        legacy[LEGACY[-1]] = FIRST_SECRETS
    for name in names:
        await db.execute(legacy[name])
        await db.execute("INSERT INTO migrations (name) VALUES ($1)", name)


async def _catalog(db: Connection) -> list[str]:
    """The tables, columns, indexes, constraints and views of the current schema, one per line."""
    schema = await db.fetchval("SELECT current_schema()")
    return [row["line"].replace(f"{schema}.", "") for row in await db.fetch(CATALOG)]
