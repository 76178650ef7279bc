"""A run as a stream of server-sent events. A client that leaves changes nothing: the run goes on without it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import structlog
from aiohttp import web

from events.event import Recorded
from events.objects import Run, Step
from service.database import DATABASE_ERRORS
from service.feed import Item, Lagging, Watcher, tail
from service.http.deps import REQUEST_ID, deps, wire
from service.http.frame import headers
from service.wire.stream import RunStream

log = structlog.get_logger()

# Seconds that a client may take to read what fills its connection's buffers.
WRITE_TIMEOUT = 30.0


async def stream_run(
    request: web.Request,
    watcher: Watcher,
    first: Sequence[Recorded[Any]],
    *,
    run: Run | None = None,
    steps: Sequence[Step] = (),
) -> web.StreamResponse:
    """Streams a run from its `first` events on, to its end or until it requires action.

    `run` and `steps` are as they were before those events, where the run is not new.
    """
    stream = RunStream(wire(request), run=run, steps=list(steps))
    response = web.StreamResponse(headers={**headers(request[REQUEST_ID], 1), **_HEADERS})
    started = time.perf_counter()
    await response.prepare(request)
    counts = deps(request).metrics
    counts.streams += 1
    try:
        if not await _write(response, stream, list(first)):
            async for items in tail(watcher, deps(request).pool, first[-1].version):
                if await _write(response, stream, items):
                    break
    except (ConnectionResetError, BrokenPipeError):
        if request.transport is not None:
            request.transport.abort()
        log.info("a client left its stream", seconds=round(time.perf_counter() - started, 3))
        return response
    except (Lagging, *DATABASE_ERRORS) as error:
        log.warning("a stream broke", error=type(error).__name__)
        await response.write(stream.error("The stream broke. Please retrieve the run.", "server_error", None))
    finally:
        counts.streams -= 1
    await response.write_eof()
    return response


_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}


async def _write(response: web.StreamResponse, stream: RunStream, items: Sequence[Item]) -> bool:
    """All frames of a batch in one write. Returns whether the stream has ended."""
    frames = [frame for item in items for frame in stream.feed(item)]
    if frames:
        try:
            async with asyncio.timeout(WRITE_TIMEOUT):
                await response.write(b"".join(frames))
        except TimeoutError:
            raise ConnectionResetError("the client does not read") from None
    return stream.finished
