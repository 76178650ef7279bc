"""GET /threads/{thread_id}/stream: the runs of a thread as they happen, for EventSource, which reconnects by itself.

The stream begins with the active run, or behind the event that `Last-Event-ID` names. It ends when the client leaves,
the thread is deleted, or the token expires; then the page asks for a new token.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import structlog
from aiohttp import web

from events import event_log
from events.envelope import RecordedEvent
from events.streams import THREAD
from projections import active_runs, runs, threads
from service.database import DATABASE_ERRORS, Pool
from service.feed import WAKE, Watcher, WatcherEnded, WatcherLagging, tail
from service.http.context import GRANT, KEY, REQUEST_ID, clock, connection, origin, wire
from service.http.errors import ApiError
from service.http.rate_limits import reserve_stream
from service.http.responses import ClientDisconnected, headers
from service.http.run_stream import QUIET, STILL_THERE, STREAM_HEADERS
from service.http.services import ACCESS, LOG
from service.http.shutdown import SHUTDOWN
from service.http.stream_sender import StreamSender
from service.wire.sse.thread_stream import ResumePoint, ThreadStream, parse_event_id
from sql.connection import Connection

log = structlog.get_logger()

# Milliseconds that EventSource waits before it reconnects.
RETRY = b"retry: 1000\n\n"
# Bounds the events that are read to restore the state at the client's last event.
MAX_MISSED = 10_000
MAX_PAST = 2_000
# Bounds the runs that may have been active or queued at that event.
RUNS_BACK = 10
OVER = "The token's time is over."
_ID = "Last-Event-ID"


async def stream(request: web.Request) -> web.StreamResponse:
    thread_id, left = request.match_info["thread_id"], _left_off(request)
    frames = ThreadStream(wire(request))
    with reserve_stream(request), request.app[LOG].feed.watch(thread_id) as watcher:
        async with connection(request) as db:
            await threads.get(db, origin(request).project_id, thread_id)
            begin = await _begin(request, db, frames, left)
        response = web.StreamResponse(headers={**headers(request[REQUEST_ID], 1), **STREAM_HEADERS})
        await response.prepare(request)
        with closing(StreamSender(request, response)) as sender:
            try:
                with request.app[SHUTDOWN].end_at_stop(watcher), end_with_access(request, watcher):
                    await _follow(sender, request.app[LOG].pool, frames, watcher, begin)
                request.app[SHUTDOWN].close_connection(response)
                await sender.end()
            except ClientDisconnected:
                sender.break_off()
    return response


async def _begin(request: web.Request, db: Connection, frames: ThreadStream, left: ResumePoint | None) -> int:
    """Returns the version behind which the stream begins, and prepares `frames` for it. Raises ApiError."""
    thread_id, project_id = request.match_info["thread_id"], origin(request).project_id
    head = (await event_log.head(db, thread_id, THREAD)).version
    if left is None:
        active = await active_runs.active_since(db, project_id, thread_id)
        return head if active is None else active - 1
    begin = min(left.version, head)
    if head - begin > MAX_MISSED:
        message = f"More than {MAX_MISSED} events have come since '{_ID}'. Please read the thread, and begin anew."
        raise ApiError(400, message, param=_ID, code="too_far_behind")
    created = await runs.created_before(db, project_id, thread_id, begin, RUNS_BACK)
    first = min((version for version in created if begin - version < MAX_PAST), default=begin + 1)
    past: list[RecordedEvent[Any]] = []
    while first + len(past) <= begin:
        past += await event_log.read(db, thread_id, after=first - 1 + len(past), limit=begin - first - len(past) + 1)
    if left.is_of_run_stream and not frames.has_open_call(past):
        # The client may have seen only some frames of this event, so it is sent again.
        begin, past = max(0, begin - 1), past[:-1]
    frames.resume(past, left)
    return begin


async def _follow(sender: StreamSender, pool: Pool, frames: ThreadStream, watcher: Watcher, begin: int) -> None:
    """Writes frames until the thread is deleted or the watcher is ended. Raises ClientDisconnected."""
    await sender.send(RETRY)
    watcher.put(WAKE)  # events behind `begin` are in the log
    spoke = time.monotonic()
    try:
        async for items in tail(watcher, pool, begin):
            told = [frame for item in items for frame in frames.feed(item)]
            if told or time.monotonic() - spoke >= QUIET:
                spoke = time.monotonic()
                await sender.send(b"".join(told) or STILL_THERE)
            if frames.is_over:
                return
    except WatcherEnded as ended:
        log.info("thread_stream_ended", reason=str(ended))
    except (WatcherLagging, *DATABASE_ERRORS) as error:
        # The client reconnects by itself, and sends the id of its last event.
        log.warning("thread_stream_failed", error=type(error).__name__)


@contextmanager
def end_with_access(request: web.Request, watcher: Watcher) -> Iterator[None]:
    """Ends the watcher when the token expires or its key is revoked."""
    with request.app[ACCESS].keys.watch_revocation(request[KEY], lambda: watcher.end("Its key was revoked.")):
        if GRANT not in request:
            yield
            return
        left = request[GRANT].expires_at - clock(request).now().timestamp()
        timer = asyncio.get_running_loop().call_later(left, watcher.end, OVER)
        try:
            yield
        finally:
            timer.cancel()


def _left_off(request: web.Request) -> ResumePoint | None:
    """Reads the last event id from EventSource's header, or from the query of clients that cannot send it. Raises
    ApiError.
    """
    sent = request.headers.get(_ID) or request.query.get("last_event_id")
    if not sent:
        return None
    found = parse_event_id(sent)
    if found is None:
        raise ApiError(400, f"Invalid '{_ID}': no id of this stream.", param=_ID, code="invalid_value")
    return found
