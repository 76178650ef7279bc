"""The processes on this database: which of them are alive, and notifications between them.

A process is alive while Postgres holds its session-level advisory lock and its heartbeat goes on (`heartbeats`).
Postgres releases the lock when the connection ends (3 ms after a `kill -9`). Peers read pg_locks every LOOK_EVERY_S and
never wait for a lock. If Postgres itself restarts, all locks fall at once. The peers of a process then count as alive
for GRACE_S seconds after it has its own lock again, so that the first one to return does not take over the work of the
others. A process that joins for the first time within GRACE_S seconds of such a restart counts all processes that hold
work as alive until that time is over, unless it `is_alone`.

A notification says that streams have new events. It is sent outside the append's transaction, in batches, and only
wakes: it may be lost, so readers also poll. A process that joins sends one that names no stream, so that its peers know
it even if it dies before their next check.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, Protocol

import asyncpg
import structlog

from events import event_log
from events.envelope import RecordedEvent
from events.ids import IdSource
from events.thread.events import ThreadEvent
from events.thread.state import ThreadState
from events.vector_store.events import IndexingStarted, VectorStoreEvent
from projections.generations import newest_epoch
from service.database import CLOSE_TIMEOUT, DATABASE_ERRORS, connect
from service.errors import StartupError
from service.processes.heartbeats import Heartbeats
from sql import queries
from sql.connection import Connection

log = structlog.get_logger()

CHANNEL = "everthread"
# Names streams whose keys were destroyed.
ERASED_CHANNEL = "everthread_erased"
# The first half of the two-part advisory lock; the second half is the number of the process.
NAMESPACE = 0x4556_5448
LOOK_EVERY_S = 0.2
# Appends within so many seconds share a NOTIFY.
COALESCE_S = 0.005
RECONNECT_AFTER_S = 0.5
# Seconds in which peers can take their locks again after all locks were lost.
GRACE_S = 5.0
# Postgres takes payloads below 8,000 bytes; the id of a thread has about 31.
IDS_PER_NOTIFY = 200
_OUTDATED = "a newer version of Everthread has changed the shape of a view: this process only serves reads, so stop it"
# Stands for the number of a process in notifications of programs that are no servers.
_NO_SERVER = "0"
_SQL = queries("peers")


class PeersListener(Protocol):
    """A part of the server that claims work of dead processes."""

    def on_peers_change(self) -> None:
        """Called if a process has started or died, or if this one lost or regained its lock. Must not block."""


async def notify_servers(db: Connection, stream_ids: Sequence[str]) -> None:
    """Notifies all servers that these threads or vector stores have new events, from a program that is no server."""
    for start in range(0, len(stream_ids), IDS_PER_NOTIFY):
        await _notify(db, _NO_SERVER, stream_ids[start : start + IDS_PER_NOTIFY])


async def find_servers(db: Connection) -> set[int]:
    """Returns the numbers of the server processes that hold their lock now."""
    return {row["process"] for row in await db.fetch(_SQL["live"], NAMESPACE)}


class Peers:
    """This process among its peers.

    `process` is its number, which `ids` draws. `live` holds the numbers of all processes that were alive at the last
    check, this one's among them.
    """

    def __init__(self, url: str, *, ids: IdSource, wake: Callable[[str], None], is_alone: bool = False) -> None:
        """`url` must lead to Postgres itself, not to a pooler. `wake` is called for each stream that a peer names.

        `is_alone` if no other process can have been alive when this one was started, since its server has started
        Postgres.
        """
        self.process = ids.new_process()
        self.live: frozenset[int] = frozenset({self.process})
        self._url = url
        self._wake = wake
        self._listeners: list[PeersListener] = []
        self._channels: dict[str, Callable[[int, Sequence[str]], None]] = {}
        self._outbox: set[str] = set()
        self._has_mail = asyncio.Event()
        self._db: asyncpg.Connection[Any] | None = None
        self._heartbeats = Heartbeats()
        self._frozen: frozenset[int] = frozenset()
        # Peers that count as alive without a lock until that time.
        self._spared: frozenset[int] = frozenset()
        self._spared_until = 0.0
        self._has_joined = False
        self._is_alone = is_alone
        self._is_outdated = False

    @property
    def has_lock(self) -> bool:
        """Whether this process holds its lock. If not, its peers take it for dead."""
        return self._db is not None and not self._is_outdated

    async def check_epoch(self) -> str | None:
        """Returns None unless newer software has changed the shapes of views: then a line that says so.

        Such a process holds no lock and changes nothing. It serves reads until it is stopped.
        """
        return _OUTDATED if self._is_outdated else None

    def listen(self, listener: PeersListener) -> None:
        """Adds a listener that is notified as long as this object exists."""
        self._listeners.append(listener)

    def add_channel(self, channel: str, receive: Callable[[int, Sequence[str]], None]) -> None:
        """Adds a channel of its own for another part of the server, before this process joins.

        `receive` is called for each notification of a peer, with the number of its process and the ids in it.
        """
        self._channels[channel] = receive

    def on_thread_append(
        self, thread_id: str, recorded: Sequence[RecordedEvent[ThreadEvent]], state: ThreadState
    ) -> None:
        """Notifies the peers, if there are any."""
        self._post(thread_id)

    def on_store_append(self, store_id: str, recorded: Sequence[RecordedEvent[VectorStoreEvent]]) -> None:
        """Notifies the peers, if there are any; but not of the start of an attempt at indexing."""
        if any(not isinstance(entry.event, IndexingStarted) for entry in recorded):
            self._post(store_id)

    async def join(self) -> None:
        """Takes this process's lock and reads which peers are alive.

        Raises StartupError if the connection cannot hold a lock, and errors of the database.
        """
        db = await connect(self._url)
        try:
            if not self._is_outdated and not await db.fetchval(_SQL["hold"], NAMESPACE, self.process):
                raise StartupError("The database's direct connection cannot hold an advisory lock.")
            await db.execute(_SQL["keepalive"])
            await db.add_listener(CHANNEL, self._receive)
            for channel in self._channels:
                await db.add_listener(channel, self._receive_on_channel)
            if self._has_joined:
                self._spared, self._spared_until = self.live, monotonic() + GRACE_S
            elif not self._is_alone:
                await self._spare_holders(db)
            await self.refresh(db)
            await _notify(db, str(self.process), ())
        except BaseException:
            # Closed here, not by the garbage collector: it may hold our lock.
            db.terminate()
            raise
        self._db, self._has_joined = db, True

    async def _spare_holders(self, db: Connection) -> None:
        """Counts the processes that hold work as alive until GRACE_S seconds after the start of Postgres itself."""
        left = GRACE_S - await db.fetchval(_SQL["server_age"])
        if left > 0:
            self._spared_until = monotonic() + left
            self._spared = frozenset(row["process"] for row in await db.fetch(_SQL["holders"]))

    async def run(self) -> None:
        """Checks the peers and notifies them until cancelled. If the connection is lost, it is opened again."""
        last_check = monotonic()
        while True:
            try:
                if self._db is None:
                    await self.join()
                    # Peers may have claimed our work meanwhile.
                    self._announce_change()
                assert self._db is not None
                await self._send(self._db)
                if monotonic() - last_check >= LOOK_EVERY_S:
                    await self.refresh(self._db)
                    last_check = monotonic()
                await self._pause()
            except (*DATABASE_ERRORS, asyncpg.PostgresError, StartupError) as error:
                log.warning("direct_connection_lost", error=str(error) or type(error).__name__)
                await self.leave()
                await asyncio.sleep(RECONNECT_AFTER_S)

    async def leave(self) -> None:
        """Releases the lock, so that peers take over this process's work at once."""
        db, self._db = self._db, None
        if db is not None:
            self._announce_change()
            try:
                await db.close(timeout=CLOSE_TIMEOUT)
            except (*DATABASE_ERRORS, asyncpg.PostgresError):
                db.terminate()

    def break_off(self) -> None:
        """Closes the direct connection at once."""
        if self._db is not None:
            self._db.terminate()

    async def refresh(self, db: Connection) -> frozenset[int]:
        """Reads which processes are alive now, updates `live` and returns it. Any connection serves.

        Only reads on the direct connection count as checks of heartbeats.
        """
        beats = {row["process"]: row["last_query"] for row in await db.fetch(_SQL["live"], NAMESPACE)}
        if not self._is_outdated and await newest_epoch(db) > event_log.VIEW_EPOCH:
            await self._retire(db)
        if db is self._db:
            frozen = self._heartbeats.check(beats) - {self.process}
            for process in frozen - self._frozen:
                log.warning("process_frozen", process=process)
            self._frozen = frozen
        self._update(frozenset(beats))
        return self.live

    async def _retire(self, db: Connection) -> None:
        """Releases the lock for good: peers with newer software take over the work of this process."""
        self._is_outdated = True
        log.error("process_outdated", process=self.process, problem=_OUTDATED)
        await db.execute(_SQL["release"], NAMESPACE, self.process)
        self._announce_change()

    def _update(self, holders: frozenset[int]) -> None:
        """Sets `live`, given the processes that hold their locks."""
        if self.process in holders:
            self._spared = self._spared - holders if monotonic() < self._spared_until else frozenset()
            live = (holders - self._frozen) | self._spared | {self.process}
        else:
            # This process has lost its lock without knowing it. Peers have probably lost theirs too.
            live = self.live | holders | {self.process}
        if live != self.live:
            self.live = live
            self._announce_change()

    def _announce_change(self) -> None:
        for listener in self._listeners:
            listener.on_peers_change()

    def _post(self, stream_id: str) -> None:
        if len(self.live) > 1:
            self._outbox.add(stream_id)
            self._has_mail.set()

    async def _pause(self) -> None:
        """Waits until there is a notification to send, plus COALESCE_S for others, or until the next check is due."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_EVERY_S):
                await self._has_mail.wait()
        self._has_mail.clear()
        await asyncio.sleep(COALESCE_S)

    async def _send(self, db: asyncpg.Connection[Any]) -> None:
        stream_ids = sorted(self._outbox)
        for start in range(0, len(stream_ids), IDS_PER_NOTIFY):
            batch = stream_ids[start : start + IDS_PER_NOTIFY]
            # Removed before it is sent: an append to the stream meanwhile needs a notification of its own.
            self._outbox.difference_update(batch)
            try:
                await _notify(db, str(self.process), batch)
            except BaseException:
                self._outbox.update(batch)
                raise

    def _receive_on_channel(self, _db: object, _pid: int, channel: str, payload: object) -> None:
        sender, *ids = str(payload).split(" ")
        if sender != str(self.process):
            self._channels[channel](int(sender), ids)

    def _receive(self, _db: object, _pid: int, _channel: str, payload: object) -> None:
        sender, *stream_ids = str(payload).split(" ")
        if sender == str(self.process):
            return
        if sender != _NO_SERVER and int(sender) not in self.live:
            # The next check removes it if it has died meanwhile, and so its death is noticed too.
            self.live |= {int(sender)}
            self._announce_change()
        for stream_id in stream_ids:
            self._wake(stream_id)


async def notify_channel(db: Connection, channel: str, process: int, ids: Sequence[str]) -> None:
    """Notifies the peers of a process on a channel of `Peers.add_channel`."""
    for start in range(0, len(ids), IDS_PER_NOTIFY):
        batch = ids[start : start + IDS_PER_NOTIFY]
        await db.execute(_SQL["notify"], channel, " ".join([str(process), *batch]))


async def _notify(db: Connection, sender: str, stream_ids: Sequence[str]) -> None:
    await db.execute(_SQL["notify"], CHANNEL, " ".join([sender, *stream_ids]))
