"""Checks that an auditor starts: a verification of the installation, and the state of an erasure."""

from __future__ import annotations

from contextlib import aclosing, closing

import orjson
from aiohttp import web

from events.installation import INSTALLATION_ID
from service.audit.verifications import VerificationBusy, VerificationState
from service.http.context import KEY, REQUEST_ID, audited_project
from service.http.errors import ApiError
from service.http.event_source import end_with_access
from service.http.rate_limits import reserve_stream
from service.http.responses import ClientDisconnected, answer, headers
from service.http.services import AUDIT_CHECKS, LOG
from service.http.shutdown import SHUTDOWN
from service.http.stream_sender import STREAM_HEADERS, StreamSender

# Faults that an answer shows.
MAX_FAULTS = 100


async def verify(request: web.Request) -> web.StreamResponse:
    """Streams the progress of a verification, and its result as the last event. It stops if the client leaves.

    Raises ApiError if the key reads the audit of one project only, or if a verification is at work in this process.
    """
    if audited_project(request) is not None and request[KEY].scope != "admin":
        message = "A verification covers all projects: it needs the scope 'admin', or an audit key of the installation."
        raise ApiError(403, message)
    states = request.app[AUDIT_CHECKS].verifications.run()
    with reserve_stream(request), request.app[LOG].feed.watch(INSTALLATION_ID) as watcher:
        async with aclosing(states):
            try:
                first = await anext(states)
            except VerificationBusy:
                raise ApiError(409, "A verification is at work. Wait for its end.", code="busy") from None
            response = web.StreamResponse(headers={**headers(request[REQUEST_ID], 1), **STREAM_HEADERS})
            await response.prepare(request)
            with closing(StreamSender(request, response)) as sender:
                try:
                    with request.app[SHUTDOWN].end_at_stop(watcher), end_with_access(request, watcher):
                        await sender.send(_frame(first))
                        async for state in states:
                            if watcher.is_ended:
                                break
                            await sender.send(_frame(state))
                    await sender.end()
                except ClientDisconnected:
                    sender.break_off()
    request.app[SHUTDOWN].close_connection(response)
    return response


def _frame(state: VerificationState) -> bytes:
    """Returns the frame of a state, with the first MAX_FAULTS faults once it has ended."""
    progress = state.progress
    shown = progress.faults[:MAX_FAULTS] if state.is_ended else []
    event = {
        "object": "audit.verification",
        "status": "in_progress" if not state.is_ended else "failed" if state.problem else "completed",
        "problem": state.problem,
        "events": progress.events,
        "total_events": progress.total_events,
        "streams": progress.streams,
        "total_streams": progress.total_streams,
        "log_size": progress.log_size,
        "checkpoints": progress.checkpoints,
        "waiting": progress.waiting,
        "erased": progress.erased,
        "fault_count": len(progress.faults),
        "faults": [{"stream_id": each.stream_id, "version": each.version, "text": each.text} for each in shown],
        "losses": progress.losses,
    }
    return b"event: audit.verification\ndata: %b\n\n" % orjson.dumps(event)


async def erasure(request: web.Request) -> web.Response:
    """Answers with what is left of a stream. Raises ApiError if the project of the key has no such stream."""
    stream_id, own = request.match_info["stream_id"], audited_project(request)
    proof = await request.app[AUDIT_CHECKS].erasures.read(stream_id)
    if proof is None or own not in (None, proof.events[0].project_id):
        raise ApiError(404, f"The log has no object '{stream_id[:100]}'.")
    return answer({"object": "audit.erasure", **proof.to_json()})
