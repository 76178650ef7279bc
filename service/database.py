"""Connections to Postgres: the pool, a single connection, and the errors that are worth another try."""

from __future__ import annotations

import asyncio
from typing import Any, TypeAlias

import asyncpg

import sql
from service.errors import StartupError
from sql.connection import Connection

Pool: TypeAlias = "asyncpg.Pool[Any]"

POOL_MIN = 2
POOL_MAX = 10
CONNECT_TIMEOUT = 10.0
ACQUIRE_TIMEOUT = 5.0
CLOSE_TIMEOUT = 2.0
QUERIES_PER_CONNECTION = 50_000
IDLE_LIFETIME = 300.0
COMMAND_TIMEOUT = 10.0

# Errors that mean that the database is away or overloaded for now, not that a query is wrong. Worth another try.
DATABASE_ERRORS = (
    OSError,
    asyncpg.InterfaceError,
    # asyncpg raises it if it uses a connection that the server is just closing.
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    # A role, a database or a primary that is being changed: also worth waiting for.
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ReadOnlySQLTransactionError,
)

_SQL = sql.queries("health")
_NAMED = {"application_name": "everthread"}


class TimedPool(asyncpg.Pool):
    """A pool whose callers wait at most ACQUIRE_TIMEOUT seconds: a request then fails with 503 instead of hanging."""

    def acquire(self, *, timeout: float | None = None) -> asyncpg.pool.PoolAcquireContext[Any]:
        return super().acquire(timeout=ACQUIRE_TIMEOUT if timeout is None else timeout)


async def connect(url: str) -> asyncpg.Connection[Any]:
    """Opens one connection outside the pool. Raises StartupError if the database cannot be reached."""
    try:
        return await asyncpg.connect(
            url, timeout=CONNECT_TIMEOUT, command_timeout=COMMAND_TIMEOUT, server_settings=_NAMED
        )
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        raise StartupError(f"The database cannot be reached: {str(error) or type(error).__name__}") from error


async def open_pool(url: str) -> Pool:
    """Opens a pool over a database that `service.migrations.prepare_database` has prepared."""
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


async def close_pool(pool: Pool) -> None:
    """Closes the pool. Breaks off queries that take longer than CLOSE_TIMEOUT."""
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT):
            await pool.close()
    except TimeoutError:
        pool.terminate()


async def healthy(pool: Pool) -> str | None:
    """Returns None if the database answers, else one line with the reason. `Health` bounds the wait."""
    try:
        await pool.fetchval(_SQL["ping"])
    except (*DATABASE_ERRORS, asyncpg.PostgresError) as error:
        return f"the database does not answer: {str(error) or type(error).__name__}"
    return None


async def _leave_as_it_is(_: Connection) -> None:
    """Does nothing, since no query here changes a session's state. The pool's own reset would be 1 in
    5 of all queries.
    """
