"""Connections to Postgres: the pool, a single connection, and the errors that are worth another try."""

from __future__ import annotations

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
QUERIES_PER_CONNECTION = 50_000
IDLE_LIFETIME = 300.0
COMMAND_TIMEOUT = 10.0

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

_SQL = sql.queries("health")
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


async def healthy(pool: Pool) -> str | None:
    """None where the database answers, else one line that says why not. `Health` bounds the wait."""
    try:
        await pool.fetchval(_SQL["ping"])
    except (*DATABASE_ERRORS, asyncpg.PostgresError) as error:
        return f"the database does not answer: {str(error) or type(error).__name__}"
    return None


async def _leave_as_it_is(_: Connection) -> None:
    """Nothing here changes a session's state: the query by which the pool would reset it (1 in 5 of all) is saved."""
