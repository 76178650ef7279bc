"""The connection to Postgres: the pool, migrations, and what a database must offer."""

from __future__ import annotations

from typing import Any, TypeAlias

import asyncpg
import structlog

import sql
from service.errors import StartupError
from sql.connection import Connection

log = structlog.get_logger()

Pool: TypeAlias = "asyncpg.Pool[Any]"

POOL_MIN = 2
POOL_MAX = 10
CONNECT_TIMEOUT = 10.0
ACQUIRE_TIMEOUT = 5.0
MIGRATION_TIMEOUT = 600.0
QUERIES_PER_CONNECTION = 50_000
IDLE_LIFETIME = 300.0
COMMAND_TIMEOUT = 10.0
OLDEST_POSTGRES = 150_000
OLDEST_VECTOR = (0, 8)
# Any number that no other program takes for its advisory locks: it keeps two processes from migrating at once.
MIGRATION_LOCK = 0x4556_5448

# What says that the database is away or overloaded for now, not that a query is wrong: worth another try.
DATABASE_ERRORS = (
    OSError,
    asyncpg.InterfaceError,
    # What asyncpg raises where it uses a connection that the server is just closing.
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    # A role, a database or a primary that is being changed under us: also worth waiting for.
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ReadOnlySQLTransactionError,
)

_SQL = sql.queries("migrations")
_NAMED = {"application_name": "everthread"}


class TimedPool(asyncpg.Pool):
    """A pool that nobody waits for longer than ACQUIRE_TIMEOUT: a request then fails with 503 rather than hang."""

    def acquire(self, *, timeout: float | None = None) -> asyncpg.pool.PoolAcquireContext[Any]:
        return super().acquire(timeout=ACQUIRE_TIMEOUT if timeout is None else timeout)


async def connect(url: str) -> asyncpg.Connection[Any]:
    """One connection outside the pool. Raises StartupError where there is no database to reach."""
    try:
        return await asyncpg.connect(
            url, timeout=CONNECT_TIMEOUT, command_timeout=COMMAND_TIMEOUT, server_settings=_NAMED
        )
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        raise StartupError(f"The database cannot be reached: {str(error) or type(error).__name__}") from error


async def open_pool(url: str) -> Pool:
    """A pool over a migrated database. Raises StartupError."""
    first = await connect(url)
    try:
        await _check(first)
        await migrate(first)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise StartupError(f"The database cannot be prepared: {str(error) or type(error).__name__}") from error
    finally:
        await first.close()
    return await TimedPool(
        url,
        connection_class=asyncpg.Connection,
        record_class=asyncpg.Record,
        min_size=POOL_MIN,
        max_size=POOL_MAX,
        max_queries=QUERIES_PER_CONNECTION,
        max_inactive_connection_lifetime=IDLE_LIFETIME,
        setup=None,
        init=None,
        reset=_leave_as_it_is,
        loop=None,
        timeout=CONNECT_TIMEOUT,
        command_timeout=COMMAND_TIMEOUT,
        server_settings=_NAMED,
    )


async def migrate(db: Connection) -> None:
    """Applies the migrations that this database has not had, each in a transaction, one process at a time.

    A role that may not create anything can serve a database that has them all. Raises what the database raises.
    """
    if not await _missing(db):
        return
    await db.execute(_SQL["lock"], MIGRATION_LOCK, timeout=MIGRATION_TIMEOUT)
    try:
        await db.execute(_SQL["create"])
        for name, text in await _missing(db):
            log.info("migrating", migration=name)
            async with db.transaction():
                await db.execute(text, timeout=MIGRATION_TIMEOUT)
                await db.execute(_SQL["record"], name)
    finally:
        await db.execute(_SQL["unlock"], MIGRATION_LOCK)


async def _missing(db: Connection) -> list[tuple[str, str]]:
    """(name, text) of the migrations to apply, in order."""
    known = await db.fetchval(_SQL["exists"])
    done = {row["name"] for row in await db.fetch(_SQL["applied"])} if known else set()
    return [(name, text) for name, text in sql.migrations() if name not in done]


async def healthy(pool: Pool) -> str | None:
    """None where the database answers, else one line that says why not. `Health` bounds the wait."""
    try:
        await pool.fetchval(_SQL["ping"])
    except (*DATABASE_ERRORS, asyncpg.PostgresError) as error:
        return f"the database does not answer: {str(error) or type(error).__name__}"
    return None


async def _leave_as_it_is(_: Connection) -> None:
    """Nothing here changes a session's state: the query by which the pool would reset it (1 in 5 of all) is saved."""


async def _check(db: Connection) -> None:
    version = int(await db.fetchval(_SQL["version"]))
    if version < OLDEST_POSTGRES:
        raise StartupError(f"PostgreSQL 15 or newer is needed; the database is {version // 10_000}.")
    await _check_vector(db)


async def _check_vector(db: Connection) -> None:
    """pgvector, made here where it is missing. Raises StartupError where it cannot be, or is too old."""
    row = await db.fetchrow(_SQL["vector"])
    if row is None:
        raise StartupError("pgvector 0.8 or newer is needed, and is not installed on the database's machine.")
    version = row["installed"] or row["available"]
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_VECTOR:
        hint = "ALTER EXTENSION vector UPDATE" if row["installed"] else "install a newer one"
        raise StartupError(f"pgvector 0.8 or newer is needed; the database has {version}: {hint}.")
    if row["installed"] is None:
        try:
            await db.execute(_SQL["make_vector"])
        except asyncpg.InsufficientPrivilegeError:
            raise StartupError(
                "The database's role may not make the extension it needs: run CREATE EXTENSION vector there once, as a"
                " superuser."
            ) from None
        except asyncpg.UniqueViolationError:
            return  # another process was faster
