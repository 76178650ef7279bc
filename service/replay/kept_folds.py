"""Folds of timelines that are kept between two pages, so that a page does not fold the thread from its first event."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator
from contextlib import aclosing

from service.replay.deletions import deleted_since
from service.replay.run_reader import RunReader
from service.replay.run_timeline import TimelineEntry
from service.replay.run_view import RunView
from service.wire.replay import ReplayEntry

# Folds that a process keeps, the estimated bytes of their histories, and the seconds for which it keeps one.
MAX_FOLDS = 16
MAX_BYTES = 64 * 1024**2
KEEP_S = 60.0

# The thread, the run, and whether the reader sees what was deleted.
FoldKey = tuple[str, str, bool]


class RunFold:
    """A timeline that was read in part.

    `version` is that of the last entry which pages have passed, and `ahead` are the entries behind it that were read.
    `is_found` if the thread has the run. `checked_version` is that up to which deletions in the thread are known.
    """

    def __init__(self, reader: RunReader, view: RunView) -> None:
        self.reader = reader
        self.view = view
        self.version = 0
        self.checked_version = 0
        self.is_found = False
        self.ahead: deque[TimelineEntry | ReplayEntry] = deque()

    @property
    def bytes(self) -> int:
        """An estimate of the memory that the fold takes."""
        return self.reader.timeline.prompts.bytes + sum(
            len(entry.json) for entry in self.ahead if isinstance(entry, ReplayEntry)
        )

    async def entries(self) -> AsyncGenerator[TimelineEntry | ReplayEntry, None]:
        """Yields the entries that no page has passed: each once, unless it is put back into `ahead`."""
        while self.ahead:
            yield self.ahead.popleft()
        async with aclosing(self.reader.slices()) as slices:
            async for batch in slices:
                self.is_found = self.is_found or bool(batch)
                self.ahead.extend(batch)
                while self.ahead:
                    yield self.ahead.popleft()

    def skip(self, entry: TimelineEntry) -> None:
        """Passes an entry that the page does not show."""
        self.view.add_cost(entry)
        self.version = entry.recorded.version


class KeptFolds:
    """The folds of a process, those that were used last. One that is in use is not among them."""

    def __init__(self) -> None:
        self._folds: OrderedDict[FoldKey, tuple[RunFold, asyncio.TimerHandle]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._folds)

    async def take(self, key: FoldKey, after: int, newest: int) -> RunFold | None:
        """Returns the fold with which a page behind the version `after` goes on, or None.

        `newest` is the version of the thread. A fold is of no use once something of the thread was deleted since.
        """
        fold = self._drop(key)
        if fold is None or fold.version > after:
            return None
        checked = fold.checked_version
        if checked < newest and await deleted_since(fold.reader.pool, key[0], checked, newest):
            return None
        return fold

    def keep(self, key: FoldKey, fold: RunFold) -> None:
        """Keeps a fold for KEEP_S seconds, and drops the oldest ones beyond the bounds."""
        self._drop(key)
        timer = asyncio.get_running_loop().call_later(KEEP_S, self._drop, key)
        self._folds[key] = (fold, timer)
        while len(self) > MAX_FOLDS or sum(kept.bytes for kept, _ in self._folds.values()) > MAX_BYTES:
            self._drop(next(iter(self._folds)))

    def _drop(self, key: FoldKey) -> RunFold | None:
        kept = self._folds.pop(key, None)
        if kept is None:
            return None
        kept[1].cancel()
        return kept[0]
