"""Streams that a client follows with GET, such as EventSource, which reconnects by itself.

A client names the last frame that it has (`Last-Event-ID`), or a version of the thread (`after`). If a stream has to
stop early, it ends without a last frame, and the client reconnects, perhaps to another process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, Protocol

import structlog
from aiohttp import web

from events.event_log import NO_END
from service.database import DATABASE_ERRORS
from service.feed import Watcher, WatcherEnded, WatcherLagging, tail
from service.http.context import GRANT, KEY, REQUEST_ID, clock
from service.http.errors import ApiError
from service.http.responses import ClientDisconnected, headers
from service.http.services import ACCESS, LOG
from service.http.shutdown import SHUTDOWN
from service.http.stream_sender import STREAM_HEADERS, StreamSender
from service.wire.query import parse_bounded_integer
from service.wire.sse.stream_point import StreamPoint, parse_point

log = structlog.get_logger()

# Milliseconds that EventSource waits before it reconnects.
RETRY = b"retry: 1000\n\n"
OVER = "The token's time is over."
_ID = "Last-Event-ID"


class FollowedStream(Protocol):
    """Turns the items of a thread into frames."""

    is_finished: bool

    def feed(self, item: Any) -> list[bytes]: ...


def parse_start(request: web.Request) -> StreamPoint | None:
    """Returns the point behind which the stream shall begin, or None if the request names none. Raises ApiError and
    Rejection.

    It is the last id in EventSource's header, or in the query of clients that cannot send the header, else `after`.
    """
    sent = request.headers.get(_ID) or request.query.get("last_event_id")
    if not sent:
        if "after" not in request.query:
            return None
        return StreamPoint(parse_bounded_integer(request.query, "after", 0, NO_END, 0))
    found = parse_point(sent)
    if found is None:
        raise ApiError(400, f"Invalid '{_ID}': no id of this stream.", param=_ID, code="invalid_value")
    return found


async def follow(
    request: web.Request, watcher: Watcher, stream: FollowedStream, begin: int, first: Sequence[bytes]
) -> web.StreamResponse:
    """Streams the frames `first`, and those of the thread's items after version `begin`, until the stream is finished
    or the watcher is ended.
    """
    request.app[LOG].feed.begin(watcher)
    response = web.StreamResponse(headers={**headers(request[REQUEST_ID], 1), **STREAM_HEADERS})
    await response.prepare(request)
    with closing(StreamSender(request, response)) as sender:
        try:
            with request.app[SHUTDOWN].end_at_stop(watcher), end_with_access(request, watcher):
                await sender.send(RETRY + b"".join(first))
                await _send_frames(request, sender, watcher, stream, begin)
            request.app[SHUTDOWN].close_connection(response)
            await sender.end()
        except ClientDisconnected:
            sender.break_off()
    return response


async def _send_frames(
    request: web.Request, sender: StreamSender, watcher: Watcher, stream: FollowedStream, begin: int
) -> None:
    """Raises ClientDisconnected."""
    try:
        async for items in tail(watcher, request.app[LOG].pool, begin):
            frames = [frame for item in items for frame in stream.feed(item)]
            if frames:
                await sender.send(b"".join(frames))
            else:
                await sender.keep_alive()
            if stream.is_finished:
                return
    except WatcherEnded as ended:
        log.info("followed_stream_ended", reason=str(ended))
    except (WatcherLagging, *DATABASE_ERRORS) as error:
        log.warning("followed_stream_failed", error=type(error).__name__)


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
