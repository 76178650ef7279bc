"""Many sessions: one a key, made where it is missing, and never more than there may be at once.

A new sandbox takes a second, most of it Python's imports; so a few are kept warm, frozen, and the next one is made when
one was taken. A session that nobody used for `idle_s` is closed. Where all places are taken the least recently used
session that is idle makes room; where none is idle, whoever comes waits.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import structlog

from service.sandbox.base import Sandbox, Sandboxes, SandboxUnavailable

log = structlog.get_logger()

# Seconds between looks for idle sessions; before another try to warm one after a failure; that one waits for a place.
LOOK_S, AGAIN_S, PLACE_S = 15.0, 30.0, 120.0


class NoPlace(Exception):
    """Every session that there may be is at work, and none became free in time."""


@dataclass(slots=True)
class Held:
    """A session in use. `new` where it has just been made: it holds no variables and no files.

    `mark` says what it was last used for; who comes back with another mark gets a new session. Its user sets it, last
    of all that it needs for its work; `present` and `names` are its user's own: what was put into it, and how it is
    named there.
    """

    sandbox: Sandbox
    new: bool
    mark: str | None = None
    present: set[str] = field(default_factory=set)
    names: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class _Entry:
    held: Held
    used: float
    busy: bool = True
    outlived: bool = False


class Warm:
    """Sandboxes made ahead of time. `run` makes them; without it each is made when it is asked for.

    With a count of 0 `run` makes one all the same, once: so that it is known whether one can be made.
    """

    def __init__(self, source: Sandboxes, *, count: int) -> None:
        self._source = source
        self._count = count
        self._ready: deque[Sandbox] = deque()
        self._wanted = asyncio.Event()
        self._wanted.set()

    @property
    def count(self) -> int:
        """How many are ready."""
        return len(self._ready)

    async def open(self) -> Sandbox:
        """A warm sandbox, or a new one. Raises SandboxUnavailable."""
        while self._ready:
            sandbox = self._ready.popleft()
            self._wanted.set()
            if not sandbox.lost:
                return sandbox
        return await self._source.open()

    async def run(self) -> None:
        """Keeps `count` warm until cancelled, and closes them then."""
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


class Sessions:
    def __init__(
        self, source: Sandboxes, *, at_once: int, idle_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._source = source
        self._at_once = at_once
        self._idle_s = idle_s
        self._clock = clock
        self._entries: dict[str, _Entry] = {}
        self._opening = 0
        self._ending: set[asyncio.Task[None]] = set()
        self._freed = asyncio.Condition()

    @property
    def open(self) -> int:
        """How many sessions there are."""
        return len(self._entries)

    @asynccontextmanager
    async def hold(self, key: str, mark: str | None = None) -> AsyncIterator[Held]:
        """The session of `key` with that mark, else a new one; for one user at a time.

        Raises SandboxUnavailable, NoPlace.
        """
        entry = await self._take(key, mark)
        try:
            yield entry.held
        finally:
            entry.busy, entry.used, entry.held.new = False, self._clock(), False
            if entry.held.sandbox.lost:
                self._entries.pop(key, None)
            async with self._freed:
                self._freed.notify_all()

    async def forget(self, key: str) -> None:
        """Closes the session of `key`, if there is one that nobody uses."""
        entry = self._entries.get(key)
        if entry is not None and not entry.busy:
            await self._end([self._entries.pop(key)])

    def outlived(self, key: str) -> None:
        """What the session of `key` was for is gone: nobody will use it again, and the next look closes it."""
        entry = self._entries.get(key)
        if entry is not None:
            entry.outlived = True

    async def run(self) -> None:
        """Closes what is idle too long, until cancelled; then closes all."""
        try:
            while True:
                await asyncio.sleep(LOOK_S)
                await self.close_idle()
        finally:
            entries, self._entries = self._entries, {}
            await self._end(list(entries.values()))

    async def close_idle(self) -> None:
        """Closes what nobody used for `idle_s`, and what is outlived."""
        before = self._clock() - self._idle_s
        old = [key for key, entry in self._entries.items() if entry.outlived or entry.used <= before]
        for key in old:
            await self.forget(key)

    async def _take(self, key: str, mark: str | None) -> _Entry:
        async with self._freed:
            try:
                async with asyncio.timeout(PLACE_S):
                    while not self._may_take(key):
                        await self._freed.wait()
            except TimeoutError:
                raise NoPlace(f"all {self._at_once} sandboxes are in use") from None
            entry = self._entries.get(key)
            if entry is not None and not entry.held.sandbox.lost and entry.held.mark == mark:
                entry.busy = True
                return entry
            gone = [entry] if self._entries.pop(key, None) is not None and entry is not None else []
            self._opening += 1
            oldest = self._idle() if len(self._entries) + self._opening > self._at_once else None
            gone += [self._entries.pop(oldest)] if oldest is not None else []
        try:
            await self._end(gone)
            entry = _Entry(Held(await self._source.open(), new=True), self._clock())
            self._entries[key] = entry
            return entry
        finally:
            self._opening -= 1
            async with self._freed:
                self._freed.notify_all()

    async def _end(self, entries: Sequence[_Entry]) -> None:
        """Closes them, and waits for all that are being closed: who gives up waiting stops none of that."""
        for entry in entries:
            closing = asyncio.create_task(entry.held.sandbox.close())
            self._ending.add(closing)
            closing.add_done_callback(self._ending.discard)
        if self._ending:
            await asyncio.wait(self._ending)

    def _may_take(self, key: str) -> bool:
        entry = self._entries.get(key)
        if entry is not None:
            return not entry.busy
        return len(self._entries) + self._opening < self._at_once or self._idle() is not None

    def _idle(self) -> str | None:
        """The key of the least recently used session that nobody uses."""
        idle = [(entry.used, key) for key, entry in self._entries.items() if not entry.busy]
        return min(idle)[1] if idle else None
