"""A run as a stream of server-sent events. If the client leaves, the run continues without it, unless the request has
the header `Everthread-On-Disconnect: cancel`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import structlog
from aiohttp import web

from events.envelope import RecordedEvent
from events.errors import NotFound, Rejection
from events.objects import Run, Step
from events.thread.commands import CancelRun
from service.database import DATABASE_ERRORS, Pool
from service.feed import Item, Watcher, WatcherEnded, WatcherLagging, tail
from service.http.context import KEY, REQUEST_ID, origin, wire, writer
from service.http.errors import ApiError
from service.http.idempotency import let_others_in
from service.http.responses import ClientDisconnected, headers
from service.http.services import ACCESS, LOG
from service.http.shutdown import SHUTDOWN, STOPPING
from service.http.stream_sender import STREAM_HEADERS, StreamSender
from service.wire.sse.run_stream import RunStream

log = structlog.get_logger()

# The last line of a stream whose server stops. It is no event: official SDKs would raise an exception for an error, and
# also for a `retry` without data.
STOPPED = b": the server stops, and the run goes on: retrieve it, or follow it on a new connection\n"
ON_DISCONNECT = "Everthread-On-Disconnect"
DISCONNECT_VALUES = ("continue", "cancel")
REVOKED = "The API key of this stream was revoked. The run goes on without it."


def cancels_on_disconnect(request: web.Request) -> bool:
    """Returns whether the run shall end if the client leaves its stream. Raises ApiError for another value."""
    said = request.headers.get(ON_DISCONNECT, "continue").strip().lower()
    if said not in DISCONNECT_VALUES:
        named = ", ".join(f"'{value}'" for value in DISCONNECT_VALUES)
        message = f"Invalid value for the header '{ON_DISCONNECT}': '{said[:64]}'. Supported values are: {named}."
        raise ApiError(400, message)
    return said == "cancel"


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
    with closing(StreamSender(request, response)) as sender:
        try:
            with (
                request.app[SHUTDOWN].end_at_stop(watcher, ends_with_run=True),
                request.app[ACCESS].keys.watch_revocation(request[KEY], lambda: watcher.end(REVOKED)),
            ):
                await _stream(sender, stream, watcher, request.app[LOG].pool, first)
            request.app[SHUTDOWN].close_connection(response)
            await sender.end()
        except ClientDisconnected:
            sender.break_off()
            log.info("run_stream_client_disconnected", seconds=round(time.perf_counter() - started, 3))
            if cancels_on_disconnect(request) and stream.run_id is not None:
                await _cancel(request, first[0].stream_id, stream.run_id)
    return response


async def _cancel(request: web.Request, thread_id: str, run_id: str) -> None:
    """Cancels the run, unless it has ended."""
    try:
        # The status is that of a run which is neither active nor waits.
        command = CancelRun(run_id, "completed")
        await writer(request).thread(replace(origin(request), effects=None), thread_id, command)
    except (Rejection, NotFound, *DATABASE_ERRORS) as error:
        log.info("run_not_cancelled", run_id=run_id, reason=str(error) or type(error).__name__)


async def _stream(
    sender: StreamSender, stream: RunStream, watcher: Watcher, pool: Pool, first: Sequence[RecordedEvent[Any]]
) -> None:
    """Writes frames until the run ends.

    If the stream has to stop before, its last frame is an error, or a comment if the server stops. Raises
    ClientDisconnected.
    """
    try:
        batches = tail(watcher, pool, first[-1].version)
        items: Sequence[Item] = first
        while True:
            has_written = await _write(sender, stream, items)
            if stream.is_finished:
                return
            if not has_written:
                await sender.keep_alive()
            items = await anext(batches)
    except WatcherEnded as ended:
        if str(ended) == STOPPING:
            await sender.send(STOPPED)
        else:
            await sender.send(stream.error_frame(str(ended), "invalid_request_error", "invalid_api_key"))
    except (WatcherLagging, *DATABASE_ERRORS) as error:
        log.warning("run_stream_failed", error=type(error).__name__)
        await sender.send(stream.error_frame("The stream broke. Please retrieve the run.", "server_error", None))


async def _write(sender: StreamSender, stream: RunStream, items: Sequence[Item]) -> bool:
    """Writes all frames of a batch at once. Returns whether there were any."""
    frames = [frame for item in items for frame in stream.feed(item)]
    if frames:
        await sender.send(b"".join(frames))
    return bool(frames)
