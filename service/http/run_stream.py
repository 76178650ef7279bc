"""A run as a stream of server-sent events. If the client leaves, the run continues without it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import structlog
from aiohttp import web

from events.envelope import RecordedEvent
from events.objects import Run, Step
from service.database import DATABASE_ERRORS, Pool
from service.feed import Item, Watcher, WatcherEnded, WatcherLagging, tail
from service.http.context import KEY, REQUEST_ID, wire
from service.http.idempotency import let_others_in
from service.http.responses import WRITE_TIMEOUT, ClientDisconnected, headers
from service.http.services import ACCESS, LOG
from service.http.shutdown import SHUTDOWN, STOPPING
from service.wire.sse.run_stream import RunStream

log = structlog.get_logger()

# Seconds of silence after which the stream sends a comment, so that proxies and clients do not give it up: a run may
# wait long for its turn, or for its model. Parsers of server-sent events ignore comments.
QUIET = 15.0
STILL_THERE = b": still there\n\n"
REVOKED = "The API key of this stream was revoked. The run goes on without it."


async def stream_run(
    request: web.Request,
    watcher: Watcher,
    first: Sequence[RecordedEvent[Any]],
    *,
    run: Run | None = None,
    steps: Sequence[Step] = (),
    include: frozenset[str] = frozenset(),
) -> web.StreamResponse:
    """Streams a run from its `first` events until it ends or requires action.

    `run` and `steps` are their state before those events if the run is not new; `include` is that of the request.
    """
    stream = RunStream(wire(request), run=run, steps=list(steps), include=include)
    response = web.StreamResponse(headers={**headers(request[REQUEST_ID], 1), **STREAM_HEADERS})
    started = time.perf_counter()
    await response.prepare(request)
    await let_others_in(request)
    try:
        with (
            request.app[SHUTDOWN].end_at_stop(watcher),
            request.app[ACCESS].keys.watch_revocation(request[KEY], lambda: watcher.end(REVOKED)),
        ):
            await _stream(request, response, stream, watcher, first)
        request.app[SHUTDOWN].close_connection(response)
        await response.write_eof()
    except ClientDisconnected:
        if request.transport is not None:
            request.transport.abort()
        log.info("run_stream_client_disconnected", seconds=round(time.perf_counter() - started, 3))
    return response


async def _stream(
    request: web.Request,
    response: web.StreamResponse,
    stream: RunStream,
    watcher: Watcher,
    first: Sequence[RecordedEvent[Any]],
) -> None:
    """Writes frames until the run ends. If the stream has to stop before, its last frame is an error.

    Raises ClientDisconnected.
    """
    try:
        spoke = time.monotonic()
        async for items in _batches(watcher, request.app[LOG].pool, first):
            if await _write(response, stream, items):
                spoke = time.monotonic()
            elif time.monotonic() - spoke >= QUIET:
                spoke = time.monotonic()
                await send(response, STILL_THERE)
            if stream.is_finished:
                return
    except WatcherEnded as ended:
        is_stopping = str(ended) == STOPPING
        kind, code = ("server_error", None) if is_stopping else ("invalid_request_error", "invalid_api_key")
        await send(response, stream.error_frame(str(ended), kind, code))
    except (WatcherLagging, *DATABASE_ERRORS) as error:
        log.warning("run_stream_failed", error=type(error).__name__)
        await send(response, stream.error_frame("The stream broke. Please retrieve the run.", "server_error", None))


async def _batches(watcher: Watcher, pool: Pool, first: Sequence[RecordedEvent[Any]]) -> AsyncIterator[Sequence[Item]]:
    """Yields the first events, then batches of items as they arrive."""
    yield first
    async for items in tail(watcher, pool, first[-1].version):
        yield items


STREAM_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}


async def _write(response: web.StreamResponse, stream: RunStream, items: Sequence[Item]) -> bool:
    """Writes all frames of a batch at once. Returns whether there were any."""
    frames = [frame for item in items for frame in stream.feed(item)]
    if frames:
        await send(response, b"".join(frames))
    return bool(frames)


async def send(response: web.StreamResponse, data: bytes) -> None:
    """Writes to the client. Raises ClientDisconnected if it is away, or has not read for WRITE_TIMEOUT."""
    try:
        async with asyncio.timeout(WRITE_TIMEOUT):
            await response.write(data)
    except (ConnectionResetError, BrokenPipeError, TimeoutError) as error:
        raise ClientDisconnected from error
