"""The connection to Postgres: the pool, migrations, and what a database must offer."""

from __future__ import annotations

import asyncio
from typing import Any, TypeAlias

import asyncpg
import structlog

import sql
from service.errors import StartupError

log = structlog.get_logger()

Pool: TypeAlias = "asyncpg.Pool[Any]"
# Quoted: asyncpg's classes take parameters in their stubs only.
Connection: TypeAlias = "asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]"

POOL_MIN = 2
POOL_MAX = 10
CONNECT_TIMEOUT = 10.0
COMMAND_TIMEOUT = 30.0
OLDEST_POSTGRES = 150_000
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
)

# A peer that vanished is noticed by the operating system within about 10 s, not hours.
_KEEPALIVE = {"tcp_keepalives_idle": "5", "tcp_keepalives_interval": "2", "tcp_keepalives_count": "3"}


async def connect(url: str) -> asyncpg.Connection[Any]:
    """One connection outside the pool. Raises StartupError where there is no database to reach."""
    try:
        return await asyncpg.connect(url, timeout=CONNECT_TIMEOUT, command_timeout=COMMAND_TIMEOUT)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError, ValueError) as error:
        raise StartupError(f"The database cannot be reached: {str(error) or type(error).__name__}") from error


async def open_pool(url: str) -> Pool:
    """A pool over a migrated database. Raises StartupError."""
    first = await connect(url)
    try:
        await _check(first)
        await migrate(first)
    finally:
        await first.close()
    return await asyncpg.create_pool(
        url,
        min_size=POOL_MIN,
        max_size=POOL_MAX,
        timeout=CONNECT_TIMEOUT,
        command_timeout=COMMAND_TIMEOUT,
        server_settings=_KEEPALIVE,
        reset=_leave_as_it_is,
    )


async def migrate(db: Connection) -> None:
    """Applies the migrations that this database has not had, each in a transaction, one process at a time."""
    await db.execute("SELECT pg_advisory_lock($1)", MIGRATION_LOCK)
    try:
        await db.execute(sql.queries("migrations")["create"])
        done = {row["name"] for row in await db.fetch(sql.queries("migrations")["applied"])}
        for name, text in sql.migrations():
            if name not in done:
                log.info("migrating", migration=name)
                async with db.transaction():
                    await db.execute(text)
                    await db.execute(sql.queries("migrations")["record"], name)
    finally:
        await db.execute("SELECT pg_advisory_unlock($1)", MIGRATION_LOCK)


async def healthy(pool: Pool) -> str | None:
    """None where the database answers, else one line that says why not."""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            await pool.fetchval("SELECT 1")
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
        return f"the database does not answer: {str(error) or type(error).__name__}"
    return None


async def _leave_as_it_is(_: Connection) -> None:
    """Nothing here changes a session's state: the query by which the pool would reset it (1 in 5 of all) is saved."""


async def _check(db: Connection) -> None:
    version = int(await db.fetchval("SHOW server_version_num"))
    if version < OLDEST_POSTGRES:
        raise StartupError(f"PostgreSQL 15 or newer is needed; the database is {version // 10_000}.")
