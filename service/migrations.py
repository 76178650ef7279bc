"""Prepares a database for serving: checks the server's features, and applies missing migrations.

The migrations are in `sql/migrations/`, with their sha256 in `SHA256SUMS`. Their numbers have no gaps, and a file never
changes after it has landed. The first is the baseline of version 0.2.0. A database of version 0.1.0 has other
migrations (`legacy/`) and is migrated to the baseline first. The table `pending_rebuilds` lists the streams whose views
must be rebuilt after a migration; they are rebuilt once all migrations are applied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from time import monotonic

import asyncpg
import structlog

import sql
from projections.rebuild import rebuild
from projections.row_fold import CannotFold
from service.database import connect
from service.errors import StartupError
from sql import Migration
from sql.connection import Connection
from sql.table_changes import change_tables

log = structlog.get_logger()

MIGRATION_TIMEOUT_S = 600.0
# Streams whose views one transaction rebuilds, and the seconds between two lines of the log about it.
REBUILD_BATCH = 100
REBUILD_LOG_EVERY_S = 10.0
OLDEST_POSTGRES = 150_000
OLDEST_VECTOR = (0, 8)
# An arbitrary number, the same in all versions: the advisory lock that keeps two processes from migrating at once.
MIGRATION_LOCK = 0x4556_5448

_SQL = sql.queries("migrations")
_ROLES = sql.queries("roles")


async def prepare_database(url: str, *, service_role: str | None = None) -> None:
    """Checks and migrates the database at `url`.

    If the service has another role than the owner of the tables, `service_role` names it, and it gets its rights. Then
    `url` is the owner's. Raises StartupError if the database cannot be reached, offers too little, is newer than this
    program, or if a migration fails.
    """
    db = await connect(url)
    try:
        await _check_postgres(db)
        await _prepare_vector(db)
        await migrate(db)
        if service_role is not None:
            await _grant_rights(db, service_role)
    except asyncpg.InsufficientPrivilegeError as error:
        raise StartupError(
            f"The database cannot be prepared: {error}. The owner of its tables may do it: everthread migrate."
        ) from error
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise StartupError(f"The database cannot be prepared: {str(error) or type(error).__name__}") from error
    finally:
        await db.close()


async def check_migrated(url: str) -> None:
    """Raises StartupError if the database at `url` cannot be reached, or lacks migrations of this program or rebuilds
    that follow them.
    """
    db = await connect(url)
    try:
        if not (await _plan(db)).is_empty or await _has_pending_rebuilds(db):
            raise StartupError("The database is not that of this release: run everthread migrate first.")
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise StartupError(f"The database cannot be read: {str(error) or type(error).__name__}") from error
    finally:
        await db.close()


async def migrate(db: Connection) -> None:
    """Applies the migrations that this database lacks, each in a transaction, one process at a time.

    If none is lacking, the role needs no right to create anything. Raises StartupError if the database is newer than
    this program, and the errors of the database.
    """
    if (await _plan(db)).is_empty and not await _has_pending_rebuilds(db):
        return
    await db.execute(_SQL["lock"], MIGRATION_LOCK, timeout=MIGRATION_TIMEOUT_S)
    try:
        await db.execute(_SQL["create"])
        await db.execute(_SQL["add_sha256"])
        await db.execute(_SQL["create_pending_rebuilds"])
        plan = await _plan(db)
        if plan.legacy is not None:
            await _upgrade_legacy(db, plan.legacy)
        for migration in plan.numbered:
            await _apply(db, migration)
        await _rebuild_pending(db)
    finally:
        await db.execute(_SQL["unlock"], MIGRATION_LOCK)


@dataclass(frozen=True, slots=True)
class MigrationPlan:
    """The migrations to apply, in order.

    If the database is of version 0.1.0, `legacy` lists the migrations of that version that it lacks, and `numbered`
    does not contain the baseline, for which the repairs stand. Else `legacy` is None.
    """

    legacy: Sequence[Migration] | None
    numbered: Sequence[Migration]

    @property
    def is_empty(self) -> bool:
        return self.legacy is None and not self.numbered


def plan_migrations(recorded: Mapping[str, str | None]) -> MigrationPlan:
    """Returns the plan for a database with these migrations: names to sha256 (version 0.1.0 recorded none).

    Raises StartupError if a migration is unknown here, if its sha256 differs, or if an earlier one is lacking.
    """
    numbered, (*legacy, _) = sql.migrations(), sql.legacy_migrations()
    known = {migration.name: migration.sha256 for migration in (*legacy, *numbered)}
    for name, sha256 in sorted(recorded.items()):
        if name not in known:
            raise StartupError(
                f"A newer version of Everthread has upgraded the database (migration {name}): start that version or a"
                " newer one."
            )
        if sha256 not in (None, known[name]):
            raise StartupError(f"Migration {name} of the database differs from the file of that name in this program.")
    pending = [migration for migration in numbered if migration.name not in recorded]
    if pending != numbered[len(numbered) - len(pending) :]:
        raise StartupError(f"The database lacks migration {pending[0].name}, but has a later one.")
    missing = [migration for migration in legacy if migration.name not in recorded]
    if len(pending) == len(numbered) and len(missing) < len(legacy):
        return MigrationPlan(missing, pending[1:])
    return MigrationPlan(None, pending)


async def _plan(db: Connection) -> MigrationPlan:
    rows = await db.fetch(_SQL["applied"]) if await db.fetchval(_SQL["exists"]) else []
    return plan_migrations({row["name"]: row["sha256"] for row in rows})


async def _upgrade_legacy(db: Connection, missing: Sequence[Migration]) -> None:
    """Migrates a database of version 0.1.0 to the baseline. After a crash, the next call completes it."""
    for migration in missing:
        await _apply(db, migration)
    async with db.transaction():
        await _apply(db, replace(sql.migrations()[0], text=sql.legacy_migrations()[-1].text))


async def _has_pending_rebuilds(db: Connection) -> bool:
    if await db.fetchval(_SQL["pending_rebuilds_exist"]):
        return bool(await db.fetchval(_SQL["has_pending_rebuilds"]))
    return False


async def _rebuild_pending(db: Connection) -> None:
    """Rebuilds the views of the listed streams, in transactions of REBUILD_BATCH streams.

    After a crash, the next call goes on with the first batch that is not committed. Raises StartupError if the views of
    a stream cannot be rebuilt, and the errors of the database.
    """
    streams = await db.fetchval(_SQL["count_pending_rebuilds"], timeout=MIGRATION_TIMEOUT_S)
    rebuilt, began = 0, monotonic()
    logged = began
    while batch := [row["stream_id"] for row in await db.fetch(_SQL["pending_rebuilds"], REBUILD_BATCH)]:
        async with db.transaction():
            try:
                await rebuild(db, batch)
            except CannotFold as error:
                raise StartupError(str(error)) from error
            await db.execute(_SQL["delete_pending_rebuilds"], batch)
        rebuilt += len(batch)
        at = monotonic()
        if at - logged >= REBUILD_LOG_EVERY_S:
            logged = at
            per_s = round(rebuilt / (at - began))
            log.info("views_partly_rebuilt", streams=streams, rebuilt=rebuilt, streams_per_s=per_s)
    if rebuilt:
        log.info("views_rebuilt", streams=rebuilt, seconds=round(monotonic() - began, 1))


async def _apply(db: Connection, migration: Migration) -> None:
    """Applies one migration. Waits briefly for a lock, and tries again, until MIGRATION_TIMEOUT_S."""

    async def change() -> None:
        await db.execute(_SQL["create_raise_view_epoch"])
        await db.execute(migration.text, timeout=MIGRATION_TIMEOUT_S)
        await db.execute(_SQL["record"], migration.name, migration.sha256)

    def warn() -> None:
        log.warning("migration_waits", migration=migration.name)

    log.info("migration_started", migration=migration.name)
    await change_tables(db, change, wait_s=MIGRATION_TIMEOUT_S, on_wait=warn)


async def _grant_rights(db: Connection, role: str) -> None:
    """Gives the role its rights. Postgres refuses to change the rights on a table from two connections at once."""
    async with db.transaction():
        await db.execute(_SQL["lock_in_transaction"], MIGRATION_LOCK, timeout=MIGRATION_TIMEOUT_S)
        await db.execute(_ROLES["name_service_role"], role)
        await db.execute(_ROLES["grant"], timeout=MIGRATION_TIMEOUT_S)


async def _check_postgres(db: Connection) -> None:
    version = int(await db.fetchval(_SQL["version"]))
    if version < OLDEST_POSTGRES:
        raise StartupError(f"PostgreSQL 15 or newer is needed; the database is {version // 10_000}.")


async def _prepare_vector(db: Connection) -> None:
    """Creates the extension pgvector if it is missing. Raises StartupError if that fails, or if pgvector is too old."""
    row = await db.fetchrow(_SQL["vector"])
    if row is None:
        raise StartupError("pgvector 0.8 or newer is needed, and is not installed on the database's machine.")
    version = row["installed"] or row["available"]
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_VECTOR:
        hint = "ALTER EXTENSION vector UPDATE" if row["installed"] else "install a newer one"
        raise StartupError(f"pgvector 0.8 or newer is needed; the database has {version}: {hint}.")
    if row["installed"] is None:
        try:
            await db.execute(_SQL["create_vector"])
        except asyncpg.InsufficientPrivilegeError:
            raise StartupError(
                "The database's role may not make the extension it needs: run CREATE EXTENSION vector there once, as a"
                " superuser."
            ) from None
        except asyncpg.UniqueViolationError:
            return  # another process created it first
