"""Distributes the events of threads, and the live output of their runs, to the readers inside this process.

A watcher follows one thread, for a client that streams it. A listener is notified of every thread, or of every vector
store. Each kind of notification has its own Protocol, so that a listener implements only what it needs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Any, Protocol

import structlog

from events import event_log
from events.envelope import RecordedEvent
from events.thread.events import ThreadEvent
from events.thread.state import ThreadState
from events.vector_store.events import VectorStoreEvent
from service.database import DATABASE_ERRORS, Pool
from service.deltas import CallDeltas, Delta, MessageTextDelta
from service.tasks.watchdog import Watchdog
from sql.seals import ContentErased

log = structlog.get_logger()

# Items that may wait for one watcher, and the characters of the deltas among them. If there are more, the watcher is
# cut off, so that a client that reads too slowly cannot fill the memory.
MAX_BACKLOG = 10_000
MAX_BACKLOG_TEXT = 4_000_000
# Items behind which no event waits: the watcher reads it from the log instead, since an event may be large.
MAX_BEFORE_EVENT = 200
# Items that a watcher takes at once, and events of a page of the log, so that their frames are made in one turn of the
# event loop.
MAX_TAKEN = 200
# Seconds between two checks for lost wake-ups, and the number of streams per query of a check.
POLL = 2.0
IDS_PER_LOOK = 1000
# Seconds that a watcher waits for a database that does not answer, and between its attempts.
PATIENCE = 60.0
RETRY_AFTER = 0.5


Item = RecordedEvent[ThreadEvent] | Delta


class Wake:
    """Asks the watcher to read the log, which may hold events that were not published in this process."""


WAKE = Wake()


class Watcher:
    """One reader of a thread. It takes the items that have arrived since its last call of `take`.

    `seen` is the version up to which the reader has the thread's events; None if it does not follow the log.
    """

    def __init__(self, thread_id: str) -> None:
        self.thread_id = thread_id
        self.seen: int | None = None
        self._items: list[Item | Wake] = []
        self._text = 0
        self._has_news = False
        self._has_rest = False
        self._lagging = False
        self._ended: str | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._patience = Watchdog(self._wake)

    def end(self, reason: str) -> None:
        """Makes the next `take` raise WatcherEnded with this reason."""
        self._ended = reason
        self._announce()

    @property
    def is_ended(self) -> bool:
        """Whether `end` was called."""
        return self._ended is not None

    def put(self, item: RecordedEvent[Any] | Wake) -> None:
        """Adds an event or WAKE. If MAX_BACKLOG items wait already, or MAX_BACKLOG_TEXT characters of deltas, the item
        is dropped and the next `take` raises.
        """
        if len(self._items) >= MAX_BACKLOG or self._text >= MAX_BACKLOG_TEXT:
            self._lagging = True
        elif len(self._items) < MAX_BEFORE_EVENT:
            self._items.append(item)
        elif self._items[-1] is not WAKE:
            self._items.append(WAKE)
        self._announce()

    def put_deltas(self, deltas: Sequence[Delta], length: int) -> None:
        """Adds deltas that have `length` characters in all. They are dropped together if they exceed the bounds."""
        if len(self._items) + len(deltas) > MAX_BACKLOG or self._text + length > MAX_BACKLOG_TEXT:
            self._lagging = True
        else:
            self._text += length
            self._items += deltas
        self._announce()

    def begin(self, deltas: Sequence[Delta]) -> None:
        """Makes the next `take` return WAKE and then these deltas, of an open call from its beginning, instead of the
        items that have arrived.
        """
        self._items = [WAKE, *deltas]
        self._text = sum(delta.length for delta in deltas)
        self._announce()

    def misses(self, version: int) -> bool:
        """Returns whether the reader lacks this version, and no waiting item would make it read the log."""
        return self.seen is not None and self.seen < version and not self._has_news

    def drain(self) -> list[Delta] | None:
        """Returns the deltas that have arrived, without events; None if some were dropped. Does not wait."""
        items, self._items, self._text = self._items, [], 0
        self._has_news = self._has_rest = False
        if self._lagging:
            return None
        return [item for item in items if not isinstance(item, (RecordedEvent, Wake))]

    async def take(self) -> list[Item | Wake]:
        """Returns up to MAX_TAKEN items that have arrived, in order; an empty list if none arrived for POLL seconds.

        Other work gets its turn of the event loop before the rest is taken. Raises WatcherEnded after `end`, and
        WatcherLagging if an item was dropped.
        """
        if not self._has_news:
            await self._wait()
        elif self._has_rest:
            await asyncio.sleep(0)
        if self._ended is not None:
            raise WatcherEnded(self._ended)
        if self._lagging:
            raise WatcherLagging(self.thread_id)
        items, self._items = self._items[:MAX_TAKEN], self._items[MAX_TAKEN:]
        self._has_news = self._has_rest = bool(self._items)
        self._text = sum(item.length for item in self._items if not isinstance(item, (RecordedEvent, Wake)))
        return items

    def close(self) -> None:
        """Ends the timer of the watcher."""
        self._patience.close()

    async def _wait(self) -> None:
        """Waits for news, at most POLL seconds."""
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        self._patience.start(loop.time() + POLL)
        try:
            await self._waiter
        finally:
            self._patience.stop()
            self._waiter = None

    def _announce(self) -> None:
        self._has_news = True
        if self._waiter is not None:
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class WatcherLagging(Exception):
    """A watcher fell more than MAX_BACKLOG items behind its thread."""


class WatcherEnded(Exception):
    """A watcher was ended by `Watcher.end`. The message is the reason."""


class ThreadListener(Protocol):
    """A part of the server that follows the events that this process appends to threads."""

    def on_thread_append(
        self, thread_id: str, recorded: Sequence[RecordedEvent[ThreadEvent]], state: ThreadState
    ) -> None:
        """Called after the commit of each append, with the state after it. Must not block."""


class StoreListener(Protocol):
    """A part of the server that follows the events that this process appends to vector stores."""

    def on_store_append(self, store_id: str, recorded: Sequence[RecordedEvent[VectorStoreEvent]]) -> None:
        """Called after the commit of each append. Must not block."""


class WakeListener(Protocol):
    """A part of the server that reacts to appends of other processes."""

    def on_wake(self, stream_id: str) -> None:
        """Called if a thread or a vector store may have events that this process did not append. Must not block."""


class CallListener(Protocol):
    """A part of the server that passes deltas between processes."""

    def on_watch(self, thread_id: str) -> None:
        """Called if a client begins to follow a thread, perhaps in the middle of a call. Must not block."""

    def on_call_open(self, thread_id: str) -> None:
        """Called when a call of the thread's run opens in this process. Must not block."""

    def on_call_close(self, thread_id: str) -> None:
        """Called when that call closes. Must not block."""


class Feed:
    """Publishes to the watchers of each thread and to the listeners. Publishing never waits.

    A vector store can be watched too; its watchers get nothing but WAKE.
    """

    def __init__(self) -> None:
        self._watchers: dict[str, set[Watcher]] = {}
        # The open call of each thread with a run at work.
        self._calls: dict[str, CallDeltas] = {}
        self._thread_listeners: list[ThreadListener] = []
        self._store_listeners: list[StoreListener] = []
        self._wake_listeners: list[WakeListener] = []
        self._call_listeners: list[CallListener] = []

    def listen_to_calls(self, listener: CallListener) -> None:
        """Adds a listener that is notified as long as the feed exists."""
        self._call_listeners.append(listener)

    def listen_to_threads(self, listener: ThreadListener) -> None:
        """Adds a listener that is notified as long as the feed exists."""
        self._thread_listeners.append(listener)

    def listen_to_stores(self, listener: StoreListener) -> None:
        """Adds a listener that is notified as long as the feed exists."""
        self._store_listeners.append(listener)

    def listen_to_wakes(self, listener: WakeListener) -> None:
        """Adds a listener that is notified as long as the feed exists."""
        self._wake_listeners.append(listener)

    @contextmanager
    def watch(self, thread_id: str) -> Iterator[Watcher]:
        """Yields a watcher of the thread, which gets everything that is published while the context lasts."""
        watcher = Watcher(thread_id)
        self._watchers.setdefault(thread_id, set()).add(watcher)
        try:
            yield watcher
        finally:
            watcher.close()
            watchers = self._watchers[thread_id]
            watchers.discard(watcher)
            if not watchers:
                del self._watchers[thread_id]

    @contextmanager
    def open_call(self, thread_id: str) -> Iterator[None]:
        """Keeps the deltas of a call of the thread's run while the context lasts, for watchers that come meanwhile."""
        call = self._calls[thread_id] = CallDeltas()
        for listener in self._call_listeners:
            listener.on_call_open(thread_id)
        try:
            yield
        finally:
            if self._calls.get(thread_id) is call:
                del self._calls[thread_id]
                for listener in self._call_listeners:
                    listener.on_call_close(thread_id)

    def is_watched(self, stream_id: str) -> bool:
        """Returns whether the stream has a watcher."""
        return stream_id in self._watchers

    def watched_ids(self) -> list[str]:
        """Returns the ids of the streams that have a watcher."""
        return list(self._watchers)

    def has_open_call(self, thread_id: str) -> bool:
        """Returns whether a call of the thread's run is known to be open, here or elsewhere."""
        return thread_id in self._calls

    def deltas_so_far(self, thread_id: str) -> list[Delta] | None:
        """Returns the joined deltas of the thread's open call, or None if no call is known to be open."""
        call = self._calls.get(thread_id)
        return None if call is None else call.join()

    def open_remote_call(self, thread_id: str) -> None:
        """Notes that a call has opened in another process. Its deltas are published here too."""
        self._calls[thread_id] = CallDeltas()

    def forget_remote_call(self, thread_id: str) -> None:
        """Drops the deltas of a call of another process."""
        self._calls.pop(thread_id, None)

    def begin(self, watcher: Watcher) -> None:
        """Gives a new watcher the events behind the version that it follows, and the open call from its beginning."""
        watcher.begin(self.deltas_so_far(watcher.thread_id) or ())
        for listener in self._call_listeners:
            listener.on_watch(watcher.thread_id)

    async def run(self, pool: Pool) -> None:
        """Checks for lost wake-ups until cancelled: one query serves up to IDS_PER_LOOK watched streams."""
        while True:
            await asyncio.sleep(POLL)
            try:
                await self._wake_behind(pool)
            except DATABASE_ERRORS as error:
                log.warning("feed_check_failed", error=str(error) or type(error).__name__)

    async def _wake_behind(self, pool: Pool) -> None:
        """Wakes the watchers that lack the newest version of their stream."""
        ids = list(self._watchers)
        for start in range(0, len(ids), IDS_PER_LOOK):
            async with pool.acquire() as db:
                versions = await event_log.versions(db, ids[start : start + IDS_PER_LOOK])
            for id, version in versions.items():
                for watcher in tuple(self._watchers.get(id, ())):
                    if watcher.misses(version):
                        watcher.put(WAKE)

    def publish_thread(self, thread_id: str, recorded: Sequence[RecordedEvent[Any]], state: ThreadState) -> None:
        """Publishes events that this process has just committed to a thread."""
        for watcher in tuple(self._watchers.get(thread_id, ())):
            for entry in recorded:
                watcher.put(entry)
        for listener in self._thread_listeners:
            listener.on_thread_append(thread_id, recorded, state)

    def publish_store(self, store_id: str, recorded: Sequence[RecordedEvent[Any]]) -> None:
        """Publishes events that this process has just committed to a vector store."""
        self.wake_watchers(store_id)
        for listener in self._store_listeners:
            listener.on_store_append(store_id, recorded)

    def publish_deltas(self, thread_id: str, items: Sequence[Delta]) -> None:
        """Publishes deltas of the model call or tool call that is open in the thread."""
        call = self._calls.get(thread_id)
        if call is not None:
            call.add(items)
        watchers = self._watchers.get(thread_id)
        if watchers:
            length = sum([item.length for item in items])
            for watcher in tuple(watchers):
                watcher.put_deltas(items, length)

    def wake_watchers(self, stream_id: str) -> None:
        """Makes the stream's watchers read the log."""
        for watcher in tuple(self._watchers.get(stream_id, ())):
            watcher.put(WAKE)

    def wake(self, stream_id: str) -> None:
        """Announces that the stream may have events that were not published here: wakes watchers and listeners."""
        self.wake_watchers(stream_id)
        for listener in self._wake_listeners:
            listener.on_wake(stream_id)


async def tail(watcher: Watcher, pool: Pool, after: int) -> AsyncIterator[list[Item]]:
    """Yields the items of the thread after version `after`: every event once and in order, live items between them.

    Several writers may publish their commits out of order, and other processes only send wake-ups. So the log is read
    if the next version is missing from the items; `Feed.run` finds events whose wake-up was lost. What is read from the
    log is yielded page by page, so that it is never in memory as a whole. A yielded list is empty if nothing arrived
    for POLL seconds. The iterator never ends. Raises WatcherEnded, also if the thread was erased, WatcherLagging, and
    errors of the database if it does not answer for PATIENCE seconds.
    """
    seen = after
    while True:
        watcher.seen = seen
        items: list[Item] = []
        has_page = False
        for item in await watcher.take():
            match item:
                case MessageTextDelta():
                    items.append(item)
                case RecordedEvent(version=version) if version <= seen:
                    pass
                case RecordedEvent(version=version) if version == seen + 1:
                    items.append(item)
                    seen = version
                case RecordedEvent() | Wake():
                    while page := await _read_page(pool, watcher.thread_id, seen):
                        if has_page:
                            yield items
                            items = []
                        items += page
                        seen, has_page = page[-1].version, True
                case _:
                    items.append(item)
        yield items


async def _read_page(pool: Pool, thread_id: str, after: int) -> list[RecordedEvent[Any]]:
    """Returns a page of events after version `after`. Waits up to PATIENCE for a database that does not answer."""
    until = monotonic() + PATIENCE
    while True:
        try:
            async with pool.acquire() as db:
                return await event_log.read(db, thread_id, after=after, limit=MAX_TAKEN)
        except ContentErased:
            raise WatcherEnded("the thread was deleted") from None
        except DATABASE_ERRORS:
            if monotonic() >= until:
                raise
            await asyncio.sleep(RETRY_AFTER)
