"""The pool: the connections to Postgres that the requests and the background work of a process share.

asyncpg has a pool too. Each use of its connections costs a task, a proxy and two time-outs: more CPU time than the
frequent queries (docs/performance.md, "What helped").
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from time import monotonic
from types import TracebackType
from typing import Any

import asyncpg

from service.database import connection_queue
from service.database.connection_queue import ConnectionQueue
from service.database.errors import DATABASE_ERRORS
from sql.connection import Connection, KeyStore

# Seconds for the reset of a connection whose user was cancelled. After that the connection is closed.
RESET_TIMEOUT = 1.0
# A connection is closed after so many uses, so that the memory of its Postgres process stays bounded.
USES_PER_CONNECTION = 25_000
# Seconds after which a connection that nobody has used is closed, unless it is one of the `min_size` last.
IDLE_LIFETIME = 300.0


@dataclass(eq=False, slots=True)
class _Member:
    """A connection of the pool. `idle_since` is a time of the monotonic clock."""

    connection: Connection
    uses: int = 0
    idle_since: float = 0.0


class Pool:
    """Up to `max_size` connections, which callers get in turn, requests first.

    The connection that was returned last is used next, so that those that are superfluous stay idle.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        *,
        min_size: int,
        max_size: int,
        keys: KeyStore | None = None,
    ) -> None:
        """`keys` is the store that the connections share."""
        self.max_size = max_size
        self._keys = keys
        self.callers = ConnectionQueue(max_size)
        self._connect = connect
        self._min_size = min_size
        self._members: set[_Member] = set()
        self._idle: list[_Member] = []
        self._is_closed = False
        self._has_no_members = asyncio.Event()

    async def open(self) -> None:
        """Opens the first `min_size` connections. Raises the errors of a connection that fails."""
        for _ in range(self._min_size):
            self._idle.append(await self._open_member())

    @property
    def size(self) -> int:
        """The number of open connections."""
        return sum(not member.connection.is_closed() for member in self._members)

    @property
    def idle_size(self) -> int:
        """The number of open connections that nobody uses."""
        return sum(not member.connection.is_closed() for member in self._idle)

    def forget_keys(self, stream_ids: Iterable[str]) -> None:
        """Drops what the connections keep of the keys of these streams: another process destroyed them."""
        if self._keys is not None:
            for id in stream_ids:
                self._keys.forget(id)

    def acquire(self) -> Acquisition:
        """Returns the use of a connection, as a context.

        Its beginning raises the errors of `ConnectionQueue.enter` and of a new connection, and asyncpg.InterfaceError
        if the pool is closed.
        """
        return Acquisition(self)

    async def execute(self, query: str, *values: Any, timeout: float | None = None) -> str:
        """Executes a statement on a connection of the pool; see asyncpg."""
        async with self.acquire() as db:
            return await db.execute(query, *values, timeout=timeout)

    async def fetch(self, query: str, *values: Any, timeout: float | None = None) -> list[asyncpg.Record]:
        """Returns the rows of a query on a connection of the pool; see asyncpg."""
        async with self.acquire() as db:
            return await db.fetch(query, *values, timeout=timeout)

    async def fetchrow(self, query: str, *values: Any, timeout: float | None = None) -> asyncpg.Record | None:
        """Returns the first row of a query on a connection of the pool; see asyncpg."""
        async with self.acquire() as db:
            return await db.fetchrow(query, *values, timeout=timeout)

    async def fetchval(self, query: str, *values: Any, timeout: float | None = None) -> Any:
        """Returns the first value of a query on a connection of the pool; see asyncpg."""
        async with self.acquire() as db:
            return await db.fetchval(query, *values, timeout=timeout)

    async def close(self) -> None:
        """Closes all connections, each after its use."""
        self._is_closed = True
        while self._idle:
            member = self._idle.pop()
            try:
                await member.connection.close()
            except DATABASE_ERRORS:
                # The database has ended before, so nothing is left to close in order.
                member.connection.terminate()
            self._members.discard(member)
        if self._members:
            await self._has_no_members.wait()

    def terminate(self) -> None:
        """Closes all connections at once. Queries that are at work fail."""
        self._is_closed = True
        self._idle.clear()
        for member in tuple(self._members):
            self._drop(member)

    async def take(self) -> _Member:
        """Returns an idle connection, or else a new one. The caller has waited in the queue."""
        while self._idle:
            member = self._idle.pop()
            if not member.connection.is_closed():
                return member
            self._drop(member)
        return await self._open_member()

    def put_back(self, member: _Member) -> None:
        """Ends the use of a connection."""
        member.uses += 1
        if self._is_closed or member.connection.is_closed() or member.uses >= USES_PER_CONNECTION:
            self._drop(member)
            return
        member.idle_since = monotonic()
        self._idle.append(member)
        oldest = self._idle[0]
        if member.idle_since - oldest.idle_since > IDLE_LIFETIME and len(self._members) > self._min_size:
            self._drop(self._idle.pop(0))

    async def _open_member(self) -> _Member:
        async with asyncio.timeout(connection_queue.ACQUIRE_TIMEOUT):
            member = _Member(await self._connect())
        self._members.add(member)
        self._has_no_members.clear()
        if self._is_closed:
            self._drop(member)
            raise asyncpg.InterfaceError("the pool is closed")
        return member

    def _drop(self, member: _Member) -> None:
        member.connection.terminate()
        self._members.discard(member)
        if not self._members:
            self._has_no_members.set()


class Acquisition:
    """The use of a connection of the pool, as a context.

    If the task is cancelled in it, it raises CancelledError, also if the database does not answer. Otherwise the
    cancellation would be replaced by the error of a clean-up, and callers that retry would never end.
    """

    __slots__ = ("_cancellations", "_member", "_pool")

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._cancellations = 0

    async def __aenter__(self) -> Connection:
        self._cancellations = _cancellations()
        await self._pool.callers.enter()
        try:
            self._member = await self._pool.take()
        except BaseException as error:
            self._pool.callers.leave(has_succeeded=False)
            self._raise_if_cancelled(error)
            raise
        return self._member.connection

    async def __aexit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        has_succeeded = not isinstance(error, (asyncio.CancelledError, *DATABASE_ERRORS))
        connection = self._member.connection
        try:
            if self._is_interrupted(error) or connection.is_in_transaction():
                has_succeeded = await _reset(connection)
        finally:
            self._pool.put_back(self._member)
            self._pool.callers.leave(has_succeeded=has_succeeded)
        self._raise_if_cancelled(error)

    def _is_interrupted(self, error: BaseException | None) -> bool:
        """Whether a query may have been broken off, so that Postgres may still be at work on it."""
        return isinstance(error, (asyncio.CancelledError, TimeoutError)) or _cancellations() > self._cancellations

    def _raise_if_cancelled(self, error: object) -> None:
        """Raises CancelledError if the task was cancelled in this context and an error of the database came of it."""
        if isinstance(error, DATABASE_ERRORS) and _cancellations() > self._cancellations:
            raise asyncio.CancelledError from error


async def _reset(connection: Connection) -> bool:
    """Waits until Postgres has broken off a query, and ends a transaction. Returns whether that succeeded.

    Otherwise the connection is closed.
    """
    if connection.is_closed():
        return False
    try:
        await connection.reset(timeout=RESET_TIMEOUT)
    except (*DATABASE_ERRORS, asyncpg.PostgresError):
        connection.terminate()
        return False
    except BaseException:
        connection.terminate()
        raise
    return True


def _cancellations() -> int:
    """Returns how many cancellations of the current task nothing has handled yet."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()
