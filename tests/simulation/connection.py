"""A connection to the store in memory, with the interface of asyncpg that the service uses.

A statement travels to the database and its answer back, each in its own time. So a statement may take effect although
its sender freezes, dies, is cancelled, or never gets the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import Context, copy_context
from dataclasses import dataclass
from random import Random
from typing import Any

import asyncpg

from service.database import COMMAND_TIMEOUT
from sql import queries
from tests.simulation import appends
from tests.simulation.store import Locked, Row, Session
from tests.simulation.twins import QUERIES, TwinMissing

# The sequencer's append to the log. A crash may come between it and the deletion of the rows that waited.
_SEAL = queries("sequencer")["seal"]


class Network:
    """The way between processes and the database. `context` is that of the database's callbacks.

    Subclasses delay, lose and break things. This one is fast and faithful.
    """

    context: Context | None = None
    random = Random(0)

    def delay_s(self) -> float:
        """Returns the seconds that a message takes."""
        return 0.0

    def is_hanging(self) -> bool:
        """Whether the database may let statements wait for long."""
        return False

    def copies(self) -> int:
        """Returns how often a notification arrives."""
        return 1

    def before(self, connection: SimulatedConnection, statement: Statement) -> None:
        """Called when a statement has reached the database."""

    def after(self, connection: SimulatedConnection, statement: Statement) -> None:
        """Called when a statement has taken effect, before its answer is sent."""


@dataclass(slots=True)
class Statement:
    """A statement on its way. `rows` is its answer once it has taken effect."""

    text: str
    values: tuple[Any, ...]
    answer: asyncio.Future[list[Row]]
    is_append: bool
    rows: list[Row] | None = None


class SimulatedConnection:
    """A connection. It belongs to the machine in whose context it was opened."""

    def __init__(self, session: Session, network: Network) -> None:
        self.backend = session
        self.network = network
        self.context = copy_context()
        self._closed = False
        self._statement: Statement | None = None

    # asyncpg's interface.

    async def fetch(self, query: str, *values: Any, timeout: float | None = None) -> list[Row]:
        return await self._send(query, values, timeout)

    async def fetchrow(self, query: str, *values: Any, timeout: float | None = None) -> Row | None:
        rows = await self._send(query, values, timeout)
        return rows[0] if rows else None

    async def fetchval(self, query: str, *values: Any, timeout: float | None = None) -> Any:
        rows = await self._send(query, values, timeout)
        return next(iter(rows[0].values())) if rows else None

    async def execute(self, query: str, *values: Any, timeout: float | None = None) -> str:
        rows = await self._send(query, values, timeout)
        return f"UPDATE {rows[0]['rows'] if rows and 'rows' in rows[0] else len(rows)}"

    @asynccontextmanager
    async def transaction(self, **options: Any) -> AsyncIterator[None]:
        await self._send("BEGIN", (), None)
        try:
            yield
        except BaseException:
            if not self._closed:
                await self._send("ROLLBACK", (), None)
            raise
        await self._send("COMMIT", (), None)

    def is_closed(self) -> bool:
        return self._closed

    def is_in_transaction(self) -> bool:
        return self.backend.transaction is not None and not self._closed

    async def reset(self, *, timeout: float | None = None) -> None:
        await self._send("ROLLBACK", (), timeout)

    async def close(self, *, timeout: float | None = None) -> None:
        self.terminate()

    def terminate(self) -> None:
        self.break_off(asyncpg.InterfaceError("the connection was terminated"))

    async def add_listener(self, channel: str, callback: Callable[..., None]) -> None:
        def deliver(payload: str) -> None:
            if not self._closed:
                callback(self, 0, channel, payload)

        loop = asyncio.get_running_loop()
        self.backend.listeners[channel] = lambda payload: self.deliver(loop, deliver, payload)

    def deliver(self, loop: asyncio.AbstractEventLoop, call: Callable[[str], None], payload: str) -> None:
        """Passes a notification on to the process."""
        for _ in range(self.network.copies()):
            loop.call_later(self.network.delay_s(), call, payload, context=self.context)

    # The way to the database and back.

    def break_off(self, error: Exception) -> None:
        """Ends the connection, and the session with it. The statement on its way gets the error."""
        if self._closed:
            return
        self._closed = True
        self.backend.end()
        statement = self._statement
        if statement is not None and not statement.answer.done():
            statement.answer.set_exception(error)

    async def _send(self, text: str, values: tuple[Any, ...], timeout: float | None) -> list[Row]:
        if self._closed:
            raise asyncpg.InterfaceError("the connection is closed")
        loop = asyncio.get_running_loop()
        is_append = text in appends.statements() or text in ("COMMIT", _SEAL)
        statement = Statement(text, values, loop.create_future(), is_append)
        self._statement = statement
        loop.call_later(self.network.delay_s(), self._arrive, statement, context=self.network.context)
        if self.network.is_hanging():
            self.limit_wait(timeout or COMMAND_TIMEOUT)
        try:
            return await statement.answer
        finally:
            self._statement = None

    def limit_wait(self, seconds: float = COMMAND_TIMEOUT) -> None:
        """Ends the wait for the present statement after that time.

        Called only if the database hangs: in other cases the time-out would cost a timer for each statement.
        """
        statement = self._statement
        if statement is not None:
            asyncio.get_running_loop().call_later(seconds, _time_out, statement, context=self.context)

    def _arrive(self, statement: Statement) -> None:
        """Carries out a statement in the database. One whose sender gave up may take effect all the same."""
        if self._closed or (statement.answer.done() and self.network.random.random() < 0.5):
            return
        loop = asyncio.get_running_loop()
        self.network.before(self, statement)
        if self.is_closed():  # by the network
            return
        try:
            rows = self._carry_out(statement)
        except Locked as locked:
            self.limit_wait()
            locked.released.add_done_callback(lambda _: self._arrive(statement), context=self.network.context)
            return
        except Exception as error:  # noqa: BLE001 - the sender gets it
            loop.call_later(self.network.delay_s(), _answer, statement, error, context=self.network.context)
            return
        statement.rows = rows
        self.network.after(self, statement)
        if self.is_closed():  # by the network
            return
        if statement.is_append:
            loop.call_later(self.network.delay_s(), _answer, statement, rows, context=self.network.context)
        else:
            _answer(statement, rows)

    def _carry_out(self, statement: Statement) -> list[Row]:
        session, text = self.backend, statement.text
        session.last_query_s = asyncio.get_running_loop().time()
        query = QUERIES.get(text)
        if query is not None:
            return list(query(session, *statement.values))
        if statement.is_append and text != "COMMIT":
            return appends.append(session, appends.statements()[text], statement.values)
        match text:
            case "BEGIN":
                session.begin()
            case "COMMIT":
                session.commit()
            case "ROLLBACK":
                session.roll_back()
            case _:
                raise TwinMissing(text)
        return []


def _time_out(statement: Statement) -> None:
    if not statement.answer.done():
        statement.answer.set_exception(TimeoutError())


def _answer(statement: Statement, answer: list[Row] | Exception) -> None:
    if statement.answer.done():
        return
    if isinstance(answer, Exception):
        statement.answer.set_exception(answer)
    else:
        statement.answer.set_result(answer)
