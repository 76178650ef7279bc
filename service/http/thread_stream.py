"""GET /threads/{thread_id}/stream and GET /threads/{thread_id}/runs/{run_id}/stream: runs as they happen.

The stream of a thread begins with the active run, that of a run with its creation; both begin behind another point if
the request names one. The stream of a thread ends when the thread is deleted, that of a run when the run has ended or
requires action.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiohttp import web

from events import event_log
from events.envelope import RecordedEvent
from events.streams import THREAD
from events.thread import events as e
from events.thread.queue import MAX_WAITING_RUNS
from projections import active_runs, runs, threads
from service.http.context import connection, origin, wire
from service.http.event_source import follow, parse_start
from service.http.rate_limits import reserve_stream
from service.http.responses import includes
from service.http.services import LOG
from service.wire.sse.run_stream import RunStream
from service.wire.sse.stream_point import StreamPoint
from service.wire.sse.thread_stream import ThreadStream
from sql.connection import Connection

# Events of a page of those that restore the state of a stream.
PAST_PAGE = 200
_LIVES = ("run.created", "run.cancelled", "run.completed", "run.incomplete", "run.failed", "run.expired")


async def stream(request: web.Request) -> web.StreamResponse:
    """Streams all runs of a thread."""
    thread_id, project_id, point = request.match_info["thread_id"], origin(request).project_id, parse_start(request)
    frames = ThreadStream(wire(request))
    with reserve_stream(request), request.app[LOG].feed.watch(thread_id) as watcher:
        async with connection(request) as db:
            await threads.get(db, project_id, thread_id)
            head = (await event_log.head(db, thread_id, THREAD)).version
            if point is None:
                active = await active_runs.active_since(db, project_id, thread_id)
                point = StreamPoint(head if active is None else active - 1)
            point = StreamPoint(head) if point.version > head else point
            first = await _oldest_active_run(db, project_id, thread_id, point.version)
            await _feed_past(db, thread_id, first, point.version, frames.feed)
        return await follow(request, watcher, frames, point.version, frames.resume(point))


async def stream_run(request: web.Request) -> web.StreamResponse:
    """Streams a run. Answers 204 if nothing follows the frame that the client names, so that EventSource stops."""
    thread_id, run_id, point = request.match_info["thread_id"], request.match_info["run_id"], parse_start(request)
    project_id, include = origin(request).project_id, includes(request)
    with reserve_stream(request), request.app[LOG].feed.watch(thread_id) as watcher:
        async with connection(request) as db:
            await threads.get(db, project_id, thread_id)
            head = (await event_log.head(db, thread_id, THREAD)).version
            run = await runs.get(db, project_id, thread_id, run_id)
            created = await runs.position_of(db, project_id, thread_id, run_id)
            resumed_until = head
            if run.status == "requires_action":
                resumed_until = await _last_pause(db, thread_id, run_id, created, head) - 1
            frames = RunStream(wire(request), include=include, resumed_until=resumed_until)
            if point is None or point.version < created - 1:
                point = StreamPoint(created - 1)
            point = StreamPoint(head) if point.version > head else point
            await _feed_past(db, thread_id, created, point.version, frames.feed)
        first = frames.resume(point)
        if frames.is_finished:
            return web.Response(status=204)
        return await follow(request, watcher, frames, point.version, first)


async def _feed_past(
    db: Connection, thread_id: str, first: int, last: int, feed: Callable[[RecordedEvent[Any]], object]
) -> None:
    """Feeds the events from version `first` to version `last` to a stream, which restores its state."""
    while first <= last:
        for item in await event_log.read(db, thread_id, after=first - 1, limit=min(PAST_PAGE, last - first + 1)):
            feed(item)
            first = item.version + 1
        await asyncio.sleep(0)


async def _oldest_active_run(db: Connection, project_id: str, thread_id: str, version: int) -> int:
    """Returns the version that created the oldest run that was active at `version`; a later version if none was."""
    created = await runs.created_before(db, project_id, thread_id, version, MAX_WAITING_RUNS + 1)
    active: dict[str, int] = {}
    after, more = min(created, default=version + 1) - 1, bool(created)
    while more:
        page = await event_log.read_types(db, thread_id, _LIVES, after=after, until=version)
        for recorded in page.recorded:
            after = recorded.version
            if isinstance(recorded.event, e.RunCreated):
                active[recorded.event.run_id] = after
            elif isinstance(recorded.event, e.RunEnd):
                active.pop(recorded.event.run_id, None)
        more = page.more
    return min(active.values(), default=version + 1)


async def _last_pause(db: Connection, thread_id: str, run_id: str, after: int, until: int) -> int:
    """Returns the version at which the run required action for the last time."""
    found, more = after, True
    while more:
        page = await event_log.read_types(db, thread_id, ("run.requires_action",), after=after, until=until)
        for recorded in page.recorded:
            after = recorded.version
            if isinstance(recorded.event, e.RunRequiresAction) and recorded.event.run_id == run_id:
                found = after
        more = page.more
    return found
