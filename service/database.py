"""Connections to Postgres: the pool, a single connection, and the errors that are worth another try."""

from __future__ import annotations

import asyncio
from collections import deque
from contextvars import ContextVar
from typing import Any, TypeAlias

import asyncpg
import structlog

import sql
from service.errors import StartupError, describe_connection_error
from sql.connection import Connection

log = structlog.get_logger()

Pool: TypeAlias = "asyncpg.Pool[Any]"

POOL_MIN = 2
POOL_MAX = 10
CONNECT_TIMEOUT = 10.0
# Seconds that a caller waits for a connection while none is returned to the pool, that is while the database hangs.
ACQUIRE_TIMEOUT = 5.0
# Seconds that a caller waits at most while the database works.
LONGEST_WAIT = 60.0
# Requests that wait for a connection at the same time; further ones are refused at once.
MAX_WAITING = 2_000
# While both wait, background work gets the next connection after so many requests.
REQUESTS_IN_A_ROW = 4
# Seconds for the return of a connection if its user was cancelled. After that the connection is closed.
RELEASE_TIMEOUT = 1.0
CLOSE_TIMEOUT = 2.0
QUERIES_PER_CONNECTION = 50_000
IDLE_LIFETIME = 300.0
COMMAND_TIMEOUT = 10.0
# Seconds between two attempts to reach a database that is being started.
REACHABLE_EVERY_S = 0.25

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


_is_request: ContextVar[bool] = ContextVar("is_request", default=False)


class DatabaseBusy(TimeoutError):
    """The database works, but more callers want connections than it can serve. The message says so."""


def mark_request() -> None:
    """Gives the calling task, and tasks that it creates, the connections of the pool before background work."""
    _is_request.set(True)


def mark_background_work() -> None:
    """Takes back `mark_request`, in a task that a request created but that does not end with it."""
    _is_request.set(False)


class ConnectionQueue:
    """The callers that wait for one of `size` connections: requests first, each kind in order of arrival."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._requests: deque[asyncio.Future[None]] = deque()
        self._others: deque[asyncio.Future[None]] = deque()
        self._in_a_row = 0
        self._last_return = 0.0

    async def enter(self) -> None:
        """Waits for a connection. Call `leave` after its use.

        Raises DatabaseBusy if MAX_WAITING requests wait or if LONGEST_WAIT has passed, and TimeoutError if no
        connection was returned for ACQUIRE_TIMEOUT seconds.
        """
        if self._free:
            self._free -= 1
            return
        waiting = self._requests if _is_request.get() else self._others
        if waiting is self._requests and len(waiting) >= MAX_WAITING:
            raise DatabaseBusy(f"{len(waiting)} requests wait for the database")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.append(turn)
        try:
            await self._wait(turn)
        except BaseException:
            if turn.done():
                self.leave(has_succeeded=False)
            else:
                waiting.remove(turn)
            raise

    async def _wait(self, turn: asyncio.Future[None]) -> None:
        loop = asyncio.get_running_loop()
        began = now = loop.time()
        while not turn.done():
            patience = max(began, self._last_return) + ACQUIRE_TIMEOUT - now
            if patience <= 0:
                raise TimeoutError(f"no connection to the database for {now - began:.0f} s")
            if now - began >= LONGEST_WAIT:
                raise DatabaseBusy(f"the database was busy with others for {LONGEST_WAIT:.0f} s")
            await asyncio.wait({turn}, timeout=min(patience, began + LONGEST_WAIT - now))
            now = loop.time()

    def leave(self, *, has_succeeded: bool) -> None:
        """Passes the connection to the next caller. `has_succeeded` if the database answered its last user."""
        if has_succeeded:
            self._last_return = asyncio.get_running_loop().time()
        is_turn_of_others = bool(self._others) and (not self._requests or self._in_a_row >= REQUESTS_IN_A_ROW)
        waiting = self._others if is_turn_of_others else self._requests
        if not waiting:
            self._free += 1
            return
        self._in_a_row = 0 if is_turn_of_others else self._in_a_row + 1
        waiting.popleft().set_result(None)


class _Acquisition(asyncpg.pool.PoolAcquireContext):
    """The use of a connection of the pool, as a context.

    If the task is cancelled in it, it raises CancelledError, also if the database does not answer. The pool alone
    would replace the cancellation by the TimeoutError of its clean-up, and callers that retry would never end.
    """

    def __init__(self, pool: TimedPool, timeout: float) -> None:
        super().__init__(pool, timeout)
        self._queue = pool.callers
        self._cancellations = 0

    async def __aenter__(self) -> Any:
        self._cancellations = _cancellations()
        await self._queue.enter()
        try:
            return await super().__aenter__()
        except BaseException as error:
            self._queue.leave(has_succeeded=False)
            self._raise_if_cancelled(error)
            raise

    async def __aexit__(self, *exc: object) -> None:
        error, connection = exc[1], self.connection
        assert connection is not None
        self.connection, self.done = None, True
        is_cancelled = _cancellations() > self._cancellations
        has_succeeded = not isinstance(error, (asyncio.CancelledError, *DATABASE_ERRORS))
        try:
            await self.pool.release(connection, timeout=RELEASE_TIMEOUT if is_cancelled else None)
        except BaseException as failure:
            has_succeeded = False
            self._raise_if_cancelled(failure)
            raise
        finally:
            self._queue.leave(has_succeeded=has_succeeded)
        self._raise_if_cancelled(error)

    def _raise_if_cancelled(self, error: object) -> None:
        """Raises CancelledError if the task was cancelled in this context and an error of the database came of it."""
        if isinstance(error, DATABASE_ERRORS) and _cancellations() > self._cancellations:
            raise asyncio.CancelledError from error


def _cancellations() -> int:
    """Returns how many cancellations of the current task nothing has handled yet."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


class TimedPool(asyncpg.Pool):
    """A pool that gives its connections in turn, to requests first, and whose callers wait for a bounded time.

    Callers wait at most ACQUIRE_TIMEOUT seconds if the database hangs: a request then fails with 503. As long as
    connections are returned, callers wait for their turn.
    """

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.callers = ConnectionQueue(more["max_size"])

    def acquire(self, *, timeout: float | None = None) -> asyncpg.pool.PoolAcquireContext[Any]:
        return _Acquisition(self, ACQUIRE_TIMEOUT if timeout is None else timeout)


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
    """Returns None if the database answers, else one line with the reason, for strangers. `Health` bounds the wait."""
    try:
        await pool.fetchval(_SQL["ping"])
    except OSError as error:
        return f"the database does not answer: {describe_connection_error(error)}"
    except (*DATABASE_ERRORS, asyncpg.PostgresError) as error:
        return f"the database does not answer: {type(error).__name__}"
    return None


async def _leave_as_it_is(_: Connection) -> None:
    """Does nothing, since no query here changes a session's state. The pool's own reset would be 1 in
    5 of all queries.
    """
