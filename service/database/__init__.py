"""Connections to Postgres: the pool, a single connection, and the errors that are worth another try."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import asyncpg
import structlog

import sql
from service.database.connection_queue import mark_background_work, mark_request
from service.database.errors import DATABASE_ERRORS, DatabaseBusy
from service.database.pool import Pool
from service.database.replica import ReadReplica, replica_lifespan
from service.database.sealed_connection import SealedConnection
from service.errors import StartupError, describe_connection_error
from service.secrets.stream_keys import StreamKeys
from sql.connection import Connection

__all__ = [
    "COMMAND_TIMEOUT",
    "DATABASE_ERRORS",
    "DatabaseBusy",
    "Pool",
    "ReadReplica",
    "close_pool",
    "connect",
    "healthy",
    "mark_background_work",
    "mark_request",
    "open_pool",
    "open_replica",
    "wait_until_reachable",
]

log = structlog.get_logger()

POOL_MIN = 2
POOL_MAX = 10
CONNECT_TIMEOUT = 10.0
CLOSE_TIMEOUT = 2.0
COMMAND_TIMEOUT = 10.0
# Seconds between two attempts to reach a database that is being started.
REACHABLE_EVERY_S = 0.25

_SQL = sql.queries("health")
_NAMED = {"application_name": "everthread"}


async def wait_until_reachable(url: str, timeout_s: float) -> None:
    """Waits until the database accepts connections: it may be started at the same moment.

    Raises StartupError if it cannot be reached for `timeout_s` seconds. Other errors, such as a wrong password, are
    left to the caller's own connection.
    """
    deadline = asyncio.get_running_loop().time() + timeout_s
    is_announced = False
    while True:
        try:
            await (await asyncpg.connect(url, timeout=CONNECT_TIMEOUT)).close(timeout=CONNECT_TIMEOUT)
        except (OSError, asyncpg.CannotConnectNowError, asyncpg.PostgresConnectionError) as error:
            reason = str(error) or type(error).__name__
            if asyncio.get_running_loop().time() >= deadline:
                raise StartupError(f"The database cannot be reached: {reason}") from error
            if not is_announced:
                is_announced = True
                log.warning("database_awaited", error=reason, at_most_s=timeout_s)
            await asyncio.sleep(REACHABLE_EVERY_S)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, ValueError):
            return
        else:
            return


async def connect(url: str, *, command_timeout_s: float | None = None, is_lenient: bool = False) -> Connection:
    """Opens one connection outside the pool. Without `command_timeout_s`, COMMAND_TIMEOUT bounds each command.

    If it `is_lenient`, encrypted values that do not open raise no error (`SealedConnection`).

    Raises StartupError if the database cannot be reached.
    """
    try:
        return await _open_connection(url, StreamKeys(), command_timeout_s, is_lenient=is_lenient)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        raise StartupError(f"The database cannot be reached: {str(error) or type(error).__name__}") from error


async def open_pool(url: str, max_size: int | None = None) -> Pool:
    """Opens a pool over a database that `service.migrations.prepare_database` has prepared.

    It has POOL_MAX connections at most, or `max_size`, which is at least POOL_MIN.
    """
    keys = StreamKeys()
    pool = Pool(partial(_open_connection, url, keys), min_size=POOL_MIN, max_size=max_size or POOL_MAX, keys=keys)
    await pool.open()
    return pool


@asynccontextmanager
async def open_replica(
    url: str, primary: Pool, *, max_lag_s: float, max_size: int | None = None
) -> AsyncIterator[ReadReplica]:
    """Yields the replica at the URL, which may be unreachable, also at the start. Its pool is closed at the end."""
    pool = Pool(partial(_open_connection, url, StreamKeys()), min_size=0, max_size=max_size or POOL_MAX)
    try:
        async with replica_lifespan(primary, pool, max_lag_s=max_lag_s) as replica:
            yield replica
    finally:
        await close_pool(pool)


async def close_pool(pool: Pool) -> None:
    """Closes the pool. Breaks off queries that take longer than CLOSE_TIMEOUT."""
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT):
            await pool.close()
    except TimeoutError:
        pool.terminate()


async def healthy(pool: Pool) -> str | None:
    """Returns None if the database answers, else one line with the reason, for strangers. `Health` bounds the wait."""
    try:
        await pool.fetchval(_SQL["ping"])
    except OSError as error:
        return f"the database does not answer: {describe_connection_error(error)}"
    except (*DATABASE_ERRORS, asyncpg.PostgresError) as error:
        return f"the database does not answer: {type(error).__name__}"
    return None


async def _open_connection(
    url: str, keys: StreamKeys, command_timeout_s: float | None = None, *, is_lenient: bool = False
) -> Connection:
    connection = await asyncpg.connect(
        url,
        connection_class=SealedConnection,
        timeout=CONNECT_TIMEOUT,
        command_timeout=COMMAND_TIMEOUT if command_timeout_s is None else command_timeout_s,
        server_settings=_NAMED,
    )
    connection.key_store, connection.is_lenient = keys, is_lenient
    return connection
