"""/threads/{thread_id}/fork"""

from __future__ import annotations

from aiohttp import web

from events import event_log
from events.objects import Thread
from events.streams import THREAD
from events.thread.events import ThreadCreated
from projections import threads
from service.http.bodies import parse_request
from service.http.context import connection, done_before, id_source, origin, wire
from service.http.past import viewer
from service.http.responses import answer
from service.http.services import FORKS
from service.http.visibility import present
from service.wire.forks import ORIGIN_HEADER, format_origin, parse_fork


async def create(request: web.Request) -> web.Response:
    asked = await parse_request(request, parse_fork)
    thread_id, fork_id = request.match_info["thread_id"], id_source(request).new("thread")
    if await done_before(request, THREAD, fork_id):
        return await _render_repeat(request, fork_id)
    created = await request.app[FORKS].create(
        origin(request),
        viewer(request),
        thread_id,
        asked.at,
        fork_id=fork_id,
        ids=id_source(request),
        metadata=asked.metadata,
    )
    return await _render(request, created.thread, format_origin(thread_id, created.version))


async def _render_repeat(request: web.Request, fork_id: str) -> web.Response:
    """Answers for a fork that an earlier attempt of the request created."""
    async with connection(request) as db:
        found = await threads.get(db, origin(request).project_id, fork_id)
        [first] = await event_log.read(db, fork_id, limit=1)
    assert isinstance(first.event, ThreadCreated)
    assert first.event.origin is not None
    return await _render(request, found, format_origin(first.event.origin.thread_id, first.event.origin.version))


async def _render(request: web.Request, thread: Thread, source: str) -> web.Response:
    async with connection(request) as db:
        shown = await present(request, db, thread)
    return answer(wire(request).render_thread(shown, resources=True), **{ORIGIN_HEADER: source})
