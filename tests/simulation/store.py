"""The database of a simulation: tables in memory, sessions, advisory locks and notifications.

Statements are answered by twins (`twins/`), each at once and as a whole, so the store is serial. A transaction over
several statements changes a draft of its stream, which its commit puts in place; other changes of the stream wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from projections.row_store import StreamRows

Row = dict[str, Any]


@dataclass(slots=True)
class Stream:
    """A stream: the columns of its head, its events in order, and the rows of its views."""

    head: Row
    events: list[Row] = field(default_factory=list)
    rows: StreamRows = field(default_factory=StreamRows)


class Locked(Exception):
    """A transaction of another session changes the stream. `released` ends the wait."""

    def __init__(self, released: asyncio.Future[None]) -> None:
        super().__init__()
        self.released = released


@dataclass(slots=True)
class Transaction:
    """The changes of a session that are not committed: the streams as they would be, and other changes in order."""

    streams: dict[str, Stream] = field(default_factory=dict)
    others: list[Callable[[], None]] = field(default_factory=list)


class Session:
    """A connection as the database sees it. `epoch` is that of the views which the software of its process writes."""

    def __init__(self, store: Store, epoch: int) -> None:
        self.store = store
        self.epoch = epoch
        self.transaction: Transaction | None = None
        # The time of the last query, in seconds of the loop.
        self.last_query_s = 0.0
        # Calls with the payload of each notification that the session gets, by channel.
        self.listeners: dict[str, Callable[[str], None]] = {}

    def stream(self, stream_id: str) -> Stream | None:
        """Returns a stream as this session sees it."""
        if self.transaction is not None and stream_id in self.transaction.streams:
            return self.transaction.streams[stream_id]
        return self.store.streams.get(stream_id)

    def lock(self, stream_id: str) -> None:
        """Begins to change a stream. Raises Locked if another transaction does."""
        holder = self.store.holders.get(stream_id)
        if holder is not None and holder[0] is not self:
            raise Locked(holder[1])
        if self.transaction is not None and holder is None:
            self.store.holders[stream_id] = (self, asyncio.get_running_loop().create_future())
            found = self.store.streams.get(stream_id)
            if found is not None:
                self.transaction.streams[stream_id] = Stream(dict(found.head), list(found.events), deepcopy(found.rows))

    def put_stream(self, stream_id: str, stream: Stream) -> None:
        """Adds a new stream, which the session has locked."""
        (self.store.streams if self.transaction is None else self.transaction.streams)[stream_id] = stream

    def change(self, change: Callable[[], None]) -> None:
        """Makes a change to tables without streams: now, or when the transaction commits."""
        if self.transaction is None:
            change()
        else:
            self.transaction.others.append(change)

    def begin(self) -> None:
        self.transaction = Transaction()

    def commit(self) -> None:
        transaction, self.transaction = self.transaction, None
        assert transaction is not None
        self.store.streams.update(transaction.streams)
        for change in transaction.others:
            change()
        self._release()

    def roll_back(self) -> None:
        self.transaction = None
        self._release()

    def end(self) -> None:
        """Ends the session: its transaction, its advisory locks, and its listening."""
        self.roll_back()
        self.listeners.clear()
        self.store.sessions.pop(self, None)
        for process in [process for process, session in self.store.locks.items() if session is self]:
            del self.store.locks[process]

    def _release(self) -> None:
        for stream_id, (session, released) in list(self.store.holders.items()):
            if session is self:
                del self.store.holders[stream_id]
                if not released.done():
                    released.set_result(None)


class Store:
    """The tables. `now` is the database's clock, which counts from `began` by the time of the loop."""

    def __init__(self, began: datetime, seconds: Callable[[], float]) -> None:
        self._began = began
        self._seconds = seconds
        self.streams: dict[str, Stream] = {}
        self.holders: dict[str, tuple[Session, asyncio.Future[None]]] = {}
        self.sessions: dict[Session, None] = {}  # in order
        self.locks: dict[int, Session] = {}
        # log_pending by its key, log_ranges in order, log_epochs.
        self.pending: dict[tuple[datetime, str, int], Row] = {}
        self.ranges: list[Row] = []
        self.epochs: list[Row] = [{"epoch": 0, "origin": "simulation", "first_index": 0}]
        self.effects: dict[tuple[str, bytes, int], Row] = {}
        self.keys: dict[bytes, Row] = {}
        self.deliveries: dict[tuple[str, str, int], Row] = {}
        self.work: dict[str, Row] = {}
        # The newest epoch of the views (`projections.generations`).
        self.view_epoch = 0
        self.started_at = began - timedelta(hours=1)

    def now(self) -> datetime:
        return self.time_of(self._seconds())

    def time_of(self, seconds: float) -> datetime:
        """Returns the time at so many seconds of the loop."""
        return self._began + timedelta(seconds=seconds)

    def open_session(self, epoch: int = 0) -> Session:
        """Begins a session of a process whose software writes the views of this epoch."""
        session = Session(self, epoch)
        self.sessions[session] = None
        return session

    def rows(self, table: str) -> Iterator[Row]:
        """Yields the committed rows of a view, of all streams."""
        for stream in self.streams.values():
            yield from stream.rows.tables.rows(table)

    def notify(self, channel: str, payload: str) -> None:
        """Passes a notification to all sessions that listen."""
        for session in list(self.sessions):
            if channel in session.listeners:
                session.listeners[channel](payload)
