"""Where writers and watchers of a thread meet: events as they are committed, and what is not an event yet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Any, Protocol

import structlog

from events import store
from events.envelope import Recorded
from events.thread.events import ThreadEvent
from events.thread.state import ThreadState
from events.vector_store.events import VectorStoreEvent
from service.database import DATABASE_ERRORS, Pool
from service.deltas import Live

log = structlog.get_logger()

# Items a watcher may lag behind before it is cut off, so that a client that reads too slowly costs no memory.
MAX_BACKLOG = 10_000
# Seconds between looks at what is watched, for wake-ups that were lost; and streams that one look asks for.
POLL = 2.0
IDS_PER_LOOK = 1000
# Seconds for which a watcher waits for a database that is away, and between its tries.
PATIENCE = 60.0
RETRY_AFTER = 0.5


Item = Recorded[ThreadEvent] | Live


class Wake:
    """Something was appended elsewhere: read the log."""


WAKE = Wake()


class Watcher:
    """One reader of a thread's feed, which takes all that has come since it last looked.

    `seen` is the version up to which it knows the thread, where it follows the log.
    """

    def __init__(self, thread_id: str) -> None:
        self.thread_id = thread_id
        self.seen: int | None = None
        self._items: list[Item | Wake] = []
        self._some = asyncio.Event()
        self._lagging = False
        self._ended: str | None = None

    def end(self, why: str) -> None:
        """Whoever takes next is told that it is over."""
        self._ended = why
        self._some.set()

    def put(self, item: Item | Wake) -> None:
        if len(self._items) < MAX_BACKLOG:
            self._items.append(item)
        else:
            self._lagging = True
        self._some.set()

    def misses(self, version: int) -> bool:
        """Whether it has heard nothing of that version, and nothing waits for it that might tell."""
        return self.seen is not None and self.seen < version and not self._some.is_set()

    async def take(self) -> list[Item | Wake]:
        """What has come, in order; nothing where nothing has for POLL seconds. Raises Lagging, Ended after `end`."""
        if not self._some.is_set():
            try:
                async with asyncio.timeout(POLL):
                    await self._some.wait()
            except TimeoutError:
                return []
        if self._ended is not None:
            raise Ended(self._ended)
        if self._lagging:
            raise Lagging(self.thread_id)
        taken, self._items = self._items, []
        self._some.clear()
        return taken


class Lagging(Exception):
    """A watcher read more slowly than the thread moved, by more than MAX_BACKLOG items."""


class Ended(Exception):
    """The watcher was ended from outside, and why."""


class Listener(Protocol):
    """Told of every append to a thread, at once after its commit. Must not block."""

    def committed(self, thread_id: str, recorded: Sequence[Recorded[ThreadEvent]], state: ThreadState) -> None:
        """`recorded` was appended by this process; `state` is the state behind it."""

    def woken(self, thread_id: str) -> None:
        """Another process appended something."""


class StoreListener(Protocol):
    """Told of every append to a vector store, at once after its commit. Must not block."""

    def stored(self, store_id: str, recorded: Sequence[Recorded[VectorStoreEvent]]) -> None:
        """`recorded` was appended by this process."""

    def woken(self, id: str) -> None:
        """Another process appended something to a thread or a store."""


class Feed:
    """Fans out to the watchers of each thread. Publishing never waits.

    Whoever waits for a vector store watches it too; all that it hears is WAKE.
    """

    def __init__(self) -> None:
        self._watchers: dict[str, set[Watcher]] = {}
        self._listeners: list[Listener] = []
        self._store_listeners: list[StoreListener] = []

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def listen_to_stores(self, listener: StoreListener) -> None:
        self._store_listeners.append(listener)

    @contextmanager
    def watch(self, thread_id: str) -> Iterator[Watcher]:
        """A watcher of everything published while the context lasts."""
        watcher = Watcher(thread_id)
        self._watchers.setdefault(thread_id, set()).add(watcher)
        try:
            yield watcher
        finally:
            watchers = self._watchers[thread_id]
            watchers.discard(watcher)
            if not watchers:
                del self._watchers[thread_id]

    async def run(self, pool: Pool) -> None:
        """Wakes watchers whose threads moved on unheard, until cancelled: one look for all that is watched here."""
        while True:
            await asyncio.sleep(POLL)
            try:
                await self._look(pool)
            except DATABASE_ERRORS as error:
                log.warning("no look at what is watched", error=str(error) or type(error).__name__)

    async def _look(self, pool: Pool) -> None:
        ids = list(self._watchers)
        for start in range(0, len(ids), IDS_PER_LOOK):
            async with pool.acquire() as db:
                versions = await store.versions(db, ids[start : start + IDS_PER_LOOK])
            for id, version in versions.items():
                for watcher in tuple(self._watchers.get(id, ())):
                    if watcher.misses(version):
                        watcher.put(WAKE)

    def committed(self, thread_id: str, recorded: Sequence[Recorded[Any]], state: ThreadState) -> None:
        """Tells of events that this process has just committed."""
        for watcher in tuple(self._watchers.get(thread_id, ())):
            for entry in recorded:
                watcher.put(entry)
        for listener in self._listeners:
            listener.committed(thread_id, recorded, state)

    def stored(self, store_id: str, recorded: Sequence[Recorded[Any]]) -> None:
        """Tells of events of a vector store that this process has just committed."""
        self.wake(store_id)
        for listener in self._store_listeners:
            listener.stored(store_id, recorded)

    def live(self, thread_id: str, items: Sequence[Live]) -> None:
        """Tells the thread's watchers of what a model call just said."""
        for watcher in tuple(self._watchers.get(thread_id, ())):
            for item in items:
                watcher.put(item)

    def wake(self, thread_id: str) -> None:
        """Makes the thread's watchers read the log."""
        for watcher in tuple(self._watchers.get(thread_id, ())):
            watcher.put(WAKE)

    def woken(self, thread_id: str) -> None:
        """Another process appended to the thread (or store): watchers read the log, listeners look."""
        self.wake(thread_id)
        for listener in self._listeners:
            listener.woken(thread_id)
        for stores in self._store_listeners:
            stores.woken(thread_id)


async def tail(watcher: Watcher, pool: Pool, after: int) -> AsyncIterator[list[Item]]:
    """The thread as it grows behind version `after`: every event once and in order, with live items between.

    Commits of several writers may be published out of order, and those of other processes only wake us: where the next
    version is not at hand, the log is read. For wake-ups that were lost `Feed.run` looks. A list is empty where nothing
    came for POLL seconds. Never ends by itself. Raises Lagging, and what the database raises where it stays away.
    """
    seen = after
    while True:
        watcher.seen = seen
        found: list[Item] = []
        for item in await watcher.take():
            match item:
                case Wake():
                    missed = await _read(pool, watcher.thread_id, seen)
                case Recorded(version=version) if version > seen + 1:
                    missed = await _read(pool, watcher.thread_id, seen)
                case Recorded(version=version):
                    missed = [item] if version == seen + 1 else []
                case _:
                    found.append(item)
                    continue
            found += missed
            seen += len(missed)
        yield found


async def _read(pool: Pool, thread_id: str, after: int) -> list[Recorded[Any]]:
    """All events behind version `after`. A database that is away is waited for, up to PATIENCE: runs do so too."""
    until = monotonic() + PATIENCE
    while True:
        try:
            return await _pages(pool, thread_id, after)
        except DATABASE_ERRORS:
            if monotonic() >= until:
                raise
            await asyncio.sleep(RETRY_AFTER)


async def _pages(pool: Pool, thread_id: str, after: int) -> list[Recorded[Any]]:
    events: list[Recorded[Any]] = []
    async with pool.acquire() as db:
        while page := await store.read(db, thread_id, after=after + len(events)):
            events += page
    return events
