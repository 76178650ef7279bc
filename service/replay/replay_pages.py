"""The timeline of a run in pages, for the API: the entries that `everthread replay RUN --json` prints."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import orjson

from events.errors import NotFound
from events.streams import THREAD
from projections.rows import MAX_PAGE_BYTES, Page
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

    Each page folds the events of the thread from the first one on, and up to the last one that it shows.
    """

    def __init__(self, travel: TimeTravel, models: ModelLookup) -> None:
        self._travel = travel
        self._models = models

    async def read(self, viewer: Viewer, thread_id: str, run_id: str, *, after: int, limit: int) -> Page[ReplayEntry]:
        """Returns up to `limit` entries of the run's events with versions above `after`.

        The page ends before the entry with which it would exceed MAX_PAGE_BYTES; its first entry may be longer.

        Raises NotFound if the viewer's project has no such thread, if the thread has no such run, or if the thread is
        deleted and the viewer may not see that; Rejection if its history is too large for memory; ReplayBusy.
        """
        await self._travel.head(THREAD, thread_id, viewer)
        # Both hosted tools perform a call again if its process died.
        reader = RunReader(self._travel.pool, thread_id, run_id, lambda _: "again", sees_deleted=viewer.sees_deleted)
        async with self._travel.place(viewer):
            try:
                found = await self._read(reader, after, limit)
            except NotFound:  # the thread is deleted
                raise NotFound(THREAD.noun, thread_id) from None
        if found is None:
            raise NotFound("run", run_id)
        return found

    async def _read(self, reader: RunReader, after: int, limit: int) -> Page[ReplayEntry] | None:
        """Returns a page, or None if the thread has no such run."""
        view, found, size, is_found = RunView(self._models), list[ReplayEntry](), 0, False
        async with aclosing(reader.entries()) as entries:
            async for entry in entries:
                is_found = True
                if entry.recorded.version <= after:
                    view.add_cost(entry)
                    continue
                if len(found) == limit:
                    return Page(found, True)
                has_prompt = reader.timeline.prompts.bytes <= MAX_ENTRY_BYTES
                rendered = await asyncio.to_thread(_render, view, entry, has_prompt=has_prompt)
                size += len(rendered)
                if found and size > MAX_PAGE_BYTES:
                    return Page(found, True)
                found.append(ReplayEntry(entry.recorded.version, rendered))
        return Page(found, False) if is_found else None


def _render(view: RunView, entry: TimelineEntry, *, has_prompt: bool) -> bytes:
    """Returns the entry as JSON, without its prompt if it would exceed MAX_ENTRY_BYTES.

    It blocks while tokens are counted.
    """
    found = view.to_json(entry, has_prompt=has_prompt)
    rendered = orjson.dumps(found)
    if len(rendered) <= MAX_ENTRY_BYTES or found.get("prompt") is None:
        return rendered
    return orjson.dumps({**found, "prompt": None})
