"""Creates forks of threads.

No transaction crosses streams. The origin records the fork first, then the fork is created in one transaction: a crash
between the two leaves a reference to a thread that does not exist, and another attempt of the request creates it.
"""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from dataclasses import dataclass, replace

from events import event_log
from events.envelope import Origin
from events.errors import NotFound
from events.ids import IdSource
from events.object_changes import initial_thread
from events.objects import Thread
from events.streams import THREAD
from events.thread.commands import ForkThread, ImportThread
from events.thread.events import ThreadForked, ThreadOrigin
from projections.views import VIEWS
from service.forks.contents import ForkContents, copy_thread
from service.forks.points import ForkAt, ForkPoint, find_point
from service.replay.time_travel import TimeTravel, Viewer
from service.tasks.garbage import pause_collections
from service.wire.as_of import Moment, StreamVersion
from service.writer import Writer

# Events from which on the objects of a fork are so many that collections of garbage would hold up other requests.
LONG_HISTORY = 5_000


@dataclass(frozen=True, slots=True)
class NewFork:
    """A fork that was created. `version` is the version of its origin that it begins with.

    `ids` are the new ids of its objects by their ids in the origin, and of deleted messages that steps name. They are
    empty if an earlier attempt created the fork. `count` is the number of its objects.
    """

    thread: Thread
    version: int
    ids: dict[str, str]
    count: int


class Forks:
    """Forks threads, with the history that `travel` reads."""

    def __init__(self, writer: Writer, travel: TimeTravel) -> None:
        self._writer = writer
        self._travel = travel

    async def create(
        self,
        origin: Origin,
        viewer: Viewer,
        thread_id: str,
        at: ForkAt,
        *,
        fork_id: str,
        ids: IdSource,
        metadata: dict[str, str] | None = None,
    ) -> NewFork:
        """Creates the fork of a thread at a point, with the thread's metadata if none are given.

        Raises NotFound if there is no such thread, message or run; the errors of `TimeTravel.open`; and Rejection if
        the history is too large.
        """
        point = await self._find_point(origin, viewer, thread_id, at)
        is_long = isinstance(point.at, Moment) or point.at.version > LONG_HISTORY
        with pause_collections() if is_long else nullcontext():
            return await self._copy(origin, viewer, thread_id, point, fork_id=fork_id, ids=ids, metadata=metadata)

    async def _copy(
        self,
        origin: Origin,
        viewer: Viewer,
        thread_id: str,
        point: ForkPoint,
        *,
        fork_id: str,
        ids: IdSource,
        metadata: dict[str, str] | None,
    ) -> NewFork:
        past = await self._travel.open(THREAD, thread_id, point.at, viewer, VIEWS[THREAD])
        if not past.tables["threads"]:
            raise NotFound("thread", thread_id)
        async with self._travel.place(viewer):
            now = self._writer.clock.now()
            contents = await asyncio.to_thread(copy_thread, past, point, now, origin, ids)
            record = ForkThread(fork_id, past.version)
            await self._writer.thread(origin, thread_id, record)
            return await self._write(
                origin, fork_id, ThreadOrigin(thread_id=thread_id, version=past.version), contents, metadata
            )

    async def _write(
        self,
        origin: Origin,
        fork_id: str,
        source: ThreadOrigin,
        contents: ForkContents,
        metadata: dict[str, str] | None,
    ) -> NewFork:
        command = ImportThread(
            metadata=contents.metadata if metadata is None else metadata,
            tool_resources=contents.tool_resources,
            origin=source,
            objects=contents.objects,
        )
        # Nobody watches a thread that did not exist, and no listener acts on imports: the events are not published.
        written = await self._writer.write(THREAD, origin, fork_id, command)
        return NewFork(initial_thread(written.recorded[0]), source.version, contents.ids, len(contents.objects))

    async def _find_point(self, origin: Origin, viewer: Viewer, thread_id: str, at: ForkAt) -> ForkPoint:
        """Returns the point; that of an earlier attempt of the request if it has recorded one."""
        async with self._writer.pool.acquire() as db:
            head = await event_log.head(db, thread_id, THREAD)
        if head.version == 0 or head.project_id != viewer.project_id:
            raise NotFound("thread", thread_id)
        point = await find_point(self._writer.pool, viewer.project_id, thread_id, at, head.version)
        repeat = await self._writer.find_repeat(THREAD, origin, thread_id)
        if repeat is None:
            return point
        forked = repeat.recorded[0].event
        assert isinstance(forked, ThreadForked)
        return replace(point, at=StreamVersion(forked.version))
