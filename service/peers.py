"""The other processes on this database: who is alive, and a word to them when something was appended.

A process is alive while Postgres holds its session-level advisory lock; the lock falls with the connection (3 ms after
a `kill -9`). Peers look at pg_locks and never wait for the lock. NOTIFY only wakes: it is sent outside the append's
transaction, in batches, and readers also poll.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

import asyncpg
import structlog

from events.envelope import RecordedEvent
from events.ids import IdSource
from events.thread.events import ThreadEvent
from events.thread.state import ThreadState
from events.vector_store.events import IndexingStarted, VectorStoreEvent
from service.database import CONNECT_TIMEOUT, DATABASE_ERRORS, connect
from service.errors import StartupError
from sql import queries
from sql.connection import Connection

log = structlog.get_logger()

CHANNEL = "everthread"
# The first half of the two-part advisory lock; the second is the process's number.
NAMESPACE = 0x4556_5448
LOOK_EVERY = 0.2
# Seconds within which appends share a NOTIFY.
COALESCE = 0.005
RECONNECT_AFTER = 0.5
# Postgres takes payloads under 8,000 bytes; a thread id is some 31.
IDS_PER_NOTIFY = 200
# In the place of a process's number.
_NO_SERVER = "0"
_SQL = queries("peers")


async def tell_servers(db: Connection, thread_ids: Sequence[str]) -> None:
    """A word from a program that is no server, to all servers: these threads have changed."""
    for start in range(0, len(thread_ids), IDS_PER_NOTIFY):
        told = thread_ids[start : start + IDS_PER_NOTIFY]
        await db.execute(_SQL["notify"], CHANNEL, " ".join([_NO_SERVER, *told]))


class Peers:
    """This process among its peers. `live` holds the numbers of all processes that are alive, ours among them."""

    def __init__(self, url: str, *, ids: IdSource, woken: Callable[[str], None], changed: Callable[[], None]) -> None:
        self.process = ids.new_process()
        self.live: frozenset[int] = frozenset({self.process})
        self._url = url
        self._woken = woken
        self._changed = changed
        self._outbox: set[str] = set()
        self._told = asyncio.Event()
        self._db: asyncpg.Connection[Any] | None = None

    @property
    def held(self) -> bool:
        """Whether this process holds its lock: peers take it for dead where it does not."""
        return self._db is not None

    def on_thread_append(
        self, thread_id: str, recorded: Sequence[RecordedEvent[ThreadEvent]], state: ThreadState
    ) -> None:
        if len(self.live) > 1:
            self._outbox.add(thread_id)
            self._told.set()

    def on_store_append(self, store_id: str, recorded: Sequence[RecordedEvent[VectorStoreEvent]]) -> None:
        """The steps of a file's indexing are nobody else's concern until it ends."""
        if any(not isinstance(entry.event, IndexingStarted) for entry in recorded) and len(self.live) > 1:
            self._outbox.add(store_id)
            self._told.set()

    async def join(self) -> None:
        """Takes this process's lock and looks around. Raises StartupError where the connection cannot hold a lock."""
        db = await connect(self._url)
        try:
            if not await db.fetchval(_SQL["hold"], NAMESPACE, self.process):
                raise StartupError("The database's direct connection cannot hold an advisory lock.")
            await db.execute(_SQL["keepalive"])
            await db.add_listener(CHANNEL, self._heard)
            await self.look(db)
        except BaseException:
            # Not left to the garbage collector: it may hold our lock.
            db.terminate()
            raise
        self._db = db

    async def run(self) -> None:
        """Looks and tells, for as long as the process lives; a lost connection is made again."""
        looked = monotonic()
        while True:
            try:
                if self._db is None:
                    await self.join()
                    # Peers may have taken our runs meanwhile.
                    self._changed()
                assert self._db is not None
                await self._tell(self._db)
                if monotonic() - looked >= LOOK_EVERY:
                    await self.look(self._db)
                    looked = monotonic()
                await self._pause()
            except (*DATABASE_ERRORS, asyncpg.PostgresError, StartupError) as error:
                log.warning("lost the direct connection", error=str(error) or type(error).__name__)
                await self.leave()
                await asyncio.sleep(RECONNECT_AFTER)

    async def _pause(self) -> None:
        """Until there is something to tell, or the next look is due; what comes in one moment is told together."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_EVERY):
                await self._told.wait()
        self._told.clear()
        await asyncio.sleep(COALESCE)

    async def leave(self) -> None:
        """Lets the lock go: peers take over at once."""
        db, self._db = self._db, None
        if db is not None:
            self._changed()
            try:
                await db.close(timeout=CONNECT_TIMEOUT)
            except (*DATABASE_ERRORS, asyncpg.PostgresError):
                db.terminate()

    async def look(self, db: Connection) -> frozenset[int]:
        """Who is alive this moment, by any connection; `live` is what the last look saw."""
        live = frozenset(row["process"] for row in await db.fetch(_SQL["live"], NAMESPACE)) | {self.process}
        if live != self.live:
            self.live = live
            self._changed()
        return live

    async def _tell(self, db: asyncpg.Connection[Any]) -> None:
        ids = sorted(self._outbox)
        for start in range(0, len(ids), IDS_PER_NOTIFY):
            told = ids[start : start + IDS_PER_NOTIFY]
            # Taken out before: what is appended while this is under way must be told again.
            self._outbox.difference_update(told)
            try:
                await db.execute(_SQL["notify"], CHANNEL, " ".join([str(self.process), *told]))
            except BaseException:
                self._outbox.update(told)
                raise

    def _heard(self, _db: object, _pid: int, _channel: str, payload: object) -> None:
        sender, *thread_ids = str(payload).split(" ")
        if sender != str(self.process):
            for thread_id in thread_ids:
                self._woken(thread_id)
