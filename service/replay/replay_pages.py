"""The timeline of a run in pages, for the API: the entries that `everthread replay RUN --json` prints."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import orjson

from events.errors import NotFound
from events.streams import THREAD
from projections.rows import MAX_PAGE_BYTES, Page
from service.replay.kept_folds import KeptFolds, RunFold
from service.replay.model_lookup import ModelLookup
from service.replay.run_reader import RunReader
from service.replay.run_timeline import TimelineEntry
from service.replay.run_view import RunView
from service.replay.time_travel import TimeTravel, Viewer
from service.wire.replay import ReplayEntry

# Bytes of an entry's JSON, and of the thread's history up to the entry by an estimate, above which its prompt is left
# out.
MAX_ENTRY_BYTES = 16 * 1024**2


class ReplayPages:
    """Reads timelines of runs in pages, within the places that `travel` has for folds.

    A page folds the events of the thread up to the last one that it shows: from the first one on, or from the end of
    the page before it, whose fold is kept for a while.
    """

    def __init__(self, travel: TimeTravel, models: ModelLookup) -> None:
        self.folds = KeptFolds()
        self._travel = travel
        self._models = models

    async def read(self, viewer: Viewer, thread_id: str, run_id: str, *, after: int, limit: int) -> Page[ReplayEntry]:
        """Returns up to `limit` entries of the run's events with versions above `after`.

        The page ends before the entry with which it would exceed MAX_PAGE_BYTES; its first entry may be longer.

        Raises NotFound if the viewer's project has no such thread, if the thread has no such run, or if the thread is
        deleted and the viewer may not see that; Rejection if its history is too large for memory; ReplayBusy.
        """
        head = await self._travel.head(THREAD, thread_id, viewer)
        async with self._travel.place(viewer):
            key = (thread_id, run_id, viewer.sees_deleted)
            fold = await self.folds.take(key, after, head.version) or self._new_fold(viewer, thread_id, run_id)
            fold.checked_version = head.version
            try:
                found = await _read(fold, after, limit)
            except NotFound:  # the thread is deleted
                raise NotFound(THREAD.noun, thread_id) from None
        if not fold.is_found:
            raise NotFound("run", run_id)
        self.folds.keep(key, fold)
        return found

    def _new_fold(self, viewer: Viewer, thread_id: str, run_id: str) -> RunFold:
        # Both hosted tools perform a call again if its process died.
        reader = RunReader(self._travel.pool, thread_id, run_id, lambda _: "again", sees_deleted=viewer.sees_deleted)
        return RunFold(reader, RunView(self._models))


async def _read(fold: RunFold, after: int, limit: int) -> Page[ReplayEntry]:
    """Returns a page, which is empty if the thread has no such run."""
    found, size = list[ReplayEntry](), 0
    async with aclosing(fold.entries()) as entries:
        async for entry in entries:
            if isinstance(entry, TimelineEntry):
                if entry.recorded.version <= after:
                    fold.skip(entry)
                    continue
                if len(found) == limit:
                    fold.ahead.appendleft(entry)
                    return Page(found, True)
                entry = await asyncio.to_thread(_render, fold.view, entry)  # noqa: PLW2901
            size += len(entry.json)
            if found and size > MAX_PAGE_BYTES:
                fold.ahead.appendleft(entry)
                return Page(found, True)
            fold.version = entry.version
            if entry.version > after:
                found.append(entry)
    return Page(found, False)


def _render(view: RunView, entry: TimelineEntry) -> ReplayEntry:
    """Returns the entry as JSON, without its prompt if it or the history would exceed MAX_ENTRY_BYTES.

    It blocks while tokens are counted.
    """
    found = view.to_json(entry, has_prompt=entry.history_bytes <= MAX_ENTRY_BYTES)
    rendered = orjson.dumps(found)
    if len(rendered) > MAX_ENTRY_BYTES and found.get("prompt") is not None:
        rendered = orjson.dumps({**found, "prompt": None})
    return ReplayEntry(entry.recorded.version, rendered)
