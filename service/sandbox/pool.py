"""A pool of sessions: one for each key, created when it is needed, with a bound on their number.

A new sandbox takes a second, most of it for Python's imports, so a few are kept warm and frozen, and each one that is
taken is replaced. A session that is idle for `idle_s` is closed. If all places are taken, the least recently used idle
session is closed to make room; if none is idle, the caller waits.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from service.fair_places import OpenPlaces, open_own_places
from service.sandbox.base import Sandbox, SandboxSource, SandboxUnavailable

log = structlog.get_logger()

# Seconds between two checks for idle sessions, between two attempts to warm a sandbox after a failure, and that a
# caller waits for a place.
LOOK_S, AGAIN_S, PLACE_S = 15.0, 30.0, 120.0
# Seconds between two looks whether another process waits for one of the sessions that nobody uses here.
GIVE_WAY_S = 0.2
# Places for each place that is reserved for projects that hold none.
PLACES_PER_RESERVED = 8
_ROOM = "session"


class NoFreeSandbox(Exception):
    """Every session is in use, and none became free in time."""


class SessionHolders(Protocol):
    """Notes for the other workers of this server which sessions this process holds, by their keys."""

    def own(self, key: str, /) -> None: ...

    def disown(self, key: str, /) -> None: ...


@dataclass(slots=True)
class PooledSession:
    """A session in use. `is_new` says that it was just created, without variables and files.

    `mark` names its last use; a caller with another mark gets a new session. Its user sets the mark at the end of each
    use. `present` and `names` belong to its user: the files that were put in, and their names.
    """

    sandbox: Sandbox
    is_new: bool
    mark: str | None = None
    present: set[str] = field(default_factory=set)
    names: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class _Entry:
    key: str
    held: PooledSession
    used: float
    is_busy: bool = True
    is_obsolete: bool = False


class WarmSandboxes:
    """Sandboxes that are created in advance by `run`. Without `run` each sandbox is created when it is taken.

    With a count of 0 `run` creates one sandbox once, to find out if one can be created.
    """

    def __init__(self, source: SandboxSource, *, count: int) -> None:
        self._source = source
        self._count = count
        self._ready: deque[Sandbox] = deque()
        self._wanted = asyncio.Event()
        self._wanted.set()

    @property
    def count(self) -> int:
        """The number of sandboxes that are ready."""
        return len(self._ready)

    async def open(self) -> Sandbox:
        """Returns a warm sandbox, or a new one. Raises SandboxUnavailable."""
        while self._ready:
            sandbox = self._ready.popleft()
            self._wanted.set()
            if not sandbox.is_lost and not sandbox.is_outdated:
                return sandbox
            await sandbox.close()
        return await self._source.open()

    async def run(self) -> None:
        """Keeps `count` sandboxes warm until it is cancelled, and closes them then."""
        try:
            if not self._count:
                with suppress(SandboxUnavailable):
                    await (await self._source.open()).close()
            while True:
                await self._wanted.wait()
                self._wanted.clear()
                try:
                    while len(self._ready) < self._count:
                        self._ready.append(await self._source.open())
                except SandboxUnavailable:
                    await asyncio.sleep(AGAIN_S)
                    self._wanted.set()
        finally:
            while self._ready:
                await self._ready.pop().close()


class SessionRegistry:
    def __init__(
        self,
        source: SandboxSource,
        *,
        at_once: int,
        idle_s: float,
        clock: Callable[[], float] = time.monotonic,
        open_places: OpenPlaces = open_own_places,
        holders: SessionHolders | None = None,
    ) -> None:
        self._source = source
        self._at_once = at_once
        self._idle_s = idle_s
        self._clock = clock
        self._holders = holders
        self._entries: dict[str, _Entry] = {}
        self._opening = 0
        self._ending: set[asyncio.Task[None]] = set()
        self._freed = asyncio.Condition()
        # The keys of sessions in use or being opened, and their places by project. Idle sessions hold no place.
        self._busy: set[str] = set()
        self._places = open_places("sandboxes", at_once, reserve=at_once // PLACES_PER_RESERVED)
        # Each session has one of these, also an idle one. They bound the sessions of all workers together.
        self._rooms = open_places("sandbox sessions", at_once)

    @property
    def open(self) -> int:
        """The number of sessions."""
        return len(self._entries)

    @asynccontextmanager
    async def hold(self, key: str, mark: str | None = None, *, project: str = "") -> AsyncIterator[PooledSession]:
        """Yields the session of `key` if it has that mark, else a new one, to one user at a time.

        Projects that wait for a place take turns (`FairPlaces`).

        Raises SandboxUnavailable, NoFreeSandbox.
        """
        await self._wait_for_place(key, project)
        try:
            entry = await self._take(key, mark)
        except BaseException:
            await self._free_place(key, project)
            raise
        try:
            yield entry.held
        finally:
            entry.is_busy, entry.used, entry.held.is_new = False, self._clock(), False
            if entry.held.sandbox.is_lost and self._entries.pop(key, None) is not None:
                self._vacate(key)
            await self._free_place(key, project)

    async def forget(self, key: str) -> None:
        """Closes the session of `key` if there is one and nobody uses it."""
        entry = self._entries.get(key)
        if entry is not None and not entry.is_busy:
            await self._end([self._entries.pop(key)])

    def discard(self, key: str) -> None:
        """Marks the session of `key` as obsolete, since its thread is deleted. The next check closes it."""
        entry = self._entries.get(key)
        if entry is not None:
            entry.is_obsolete = True

    async def run(self) -> None:
        """Closes idle sessions until it is cancelled, then closes all of them."""
        try:
            while True:
                await asyncio.sleep(LOOK_S)
                await self.close_idle()
                await self.end_running()
        finally:
            entries, self._entries = self._entries, {}
            await self._end(list(entries.values()))

    async def give_way(self) -> None:
        """Closes idle sessions for which other workers of this server wait, until it is cancelled."""
        while True:
            await asyncio.sleep(GIVE_WAY_S)
            if self._rooms.is_wanted_elsewhere:
                await self._end_oldest()

    async def close_idle(self) -> None:
        """Closes sessions that nobody used for `idle_s`, and obsolete ones."""
        before = self._clock() - self._idle_s
        old = [key for key, entry in self._entries.items() if entry.is_obsolete or entry.used <= before]
        for key in old:
            await self.forget(key)

    async def end_running(self) -> None:
        """Ends the sessions whose processes run although nobody uses the session. A caller gets none of them."""
        idle = [(key, entry.held.sandbox) for key, entry in self._entries.items() if not entry.is_busy]
        running = [key for key, sandbox in idle if sandbox.has_run_between_calls()]
        for _ in running:
            log.warning("sandbox_session_ran_between_calls")
        await self._end([self._entries.pop(key) for key in running])

    async def _wait_for_place(self, key: str, project: str) -> None:
        """Waits until nobody uses the session of `key`, and takes a place. Raises NoFreeSandbox."""
        try:
            async with asyncio.timeout(PLACE_S):
                while True:
                    async with self._freed:
                        await self._freed.wait_for(lambda: key not in self._busy)
                    await self._places.take(project)
                    if key not in self._busy:
                        self._busy.add(key)
                        return
                    self._places.release(project)
        except TimeoutError:
            raise NoFreeSandbox(f"all {self._at_once} sandboxes are in use") from None

    async def _free_place(self, key: str, project: str) -> None:
        self._busy.discard(key)
        self._places.release(project)
        async with self._freed:
            self._freed.notify_all()

    async def _take(self, key: str, mark: str | None) -> _Entry:
        """Returns the session of `key`, whose user has a place: so there is room for it, or an idle session."""
        async with self._freed:
            entry = self._entries.get(key)
            if entry is not None and not entry.held.sandbox.is_lost and entry.held.mark == mark:
                entry.is_busy = True
                return entry
            gone = [entry] if self._entries.pop(key, None) is not None and entry is not None else []
            self._opening += 1
            oldest = self._idle() if len(self._entries) + self._opening > self._at_once else None
            gone += [self._entries.pop(oldest)] if oldest is not None else []
        try:
            await self._end(gone)
            await self._take_room()
            try:
                entry = _Entry(key, PooledSession(await self._source.open(), is_new=True), self._clock())
            except BaseException:
                self._rooms.release(_ROOM)
                raise
            self._entries[key] = entry
            if self._holders is not None:
                self._holders.own(key)
            return entry
        finally:
            self._opening -= 1

    async def _end(self, entries: Sequence[_Entry]) -> None:
        """Closes the sessions, and waits for all that are being closed. A caller that stops waiting does not stop the
        closing.
        """
        for entry in entries:
            closing = asyncio.create_task(self._close(entry))
            self._ending.add(closing)
            closing.add_done_callback(self._ending.discard)
        if self._ending:
            await asyncio.wait(self._ending)

    async def _close(self, entry: _Entry) -> None:
        try:
            await entry.held.sandbox.close()
        finally:
            self._vacate(entry.key)

    def _vacate(self, key: str) -> None:
        """Gives back the room of a session that has ended."""
        self._rooms.release(_ROOM)
        if self._holders is not None and key not in self._entries:
            self._holders.disown(key)

    async def _take_room(self) -> None:
        """Waits until this process may have another session. If it has an idle one, that makes room."""
        if not self._rooms.try_take(_ROOM):
            await self._end_oldest()
            await self._rooms.take(_ROOM)

    async def _end_oldest(self) -> None:
        """Closes the least recently used session that nobody uses, if there is one."""
        key = self._idle()
        if key is not None:
            await self._end([self._entries.pop(key)])

    def _idle(self) -> str | None:
        """Returns the key of the least recently used session that nobody uses."""
        idle = [(entry.used, key) for key, entry in self._entries.items() if not entry.is_busy]
        return min(idle)[1] if idle else None


@dataclass(frozen=True, slots=True)
class SessionPool:
    """The sessions of this process, and the warm sandboxes that they are made from."""

    sessions: SessionRegistry
    warm: WarmSandboxes
