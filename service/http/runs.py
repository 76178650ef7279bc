"""/threads/{thread_id}/runs and /threads/runs"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from aiohttp import web
from structlog.contextvars import bind_contextvars

from events.envelope import RecordedEvent
from events.errors import NotFound
from events.object_changes import initial_run, run_patch
from events.objects import Run, Step
from events.streams import THREAD
from events.thread import events as e
from events.thread.commands import (
    CancelRun,
    CreateRun,
    ModifyRun,
    RunSettings,
    SubmitToolOutputs,
)
from events.thread.run_settings import run_settings
from events.thread.runs import require_modifiable
from events.thread.state import ThreadState
from projections import assistants, runs, steps, threads
from service.http import files, image_hosts
from service.http.bodies import parse_request
from service.http.context import connection, done_before, id_source, origin, wire, writer
from service.http.paging import cursor, listing
from service.http.queueing import OF_RUNS, Busy, parse_busy
from service.http.rate_limits import reserve_run, reserve_stream
from service.http.responses import answer, includes
from service.http.retrieval import add_retrieval_stores
from service.http.run_stream import cancels_on_disconnect, stream_run
from service.http.services import LOG, RUNS, VECTOR_STORES
from service.http.threads import prepare_thread
from service.http.visibility import present
from service.wire.files import files_named_in
from service.wire.request_types import RunRequest, ThreadRequest
from service.writer import AppendResult
from sql.connection import Connection

# Milliseconds that poll helpers wait between two reads (docs/behaviour.md, "Clients"). Reads here are cheap and
# current.
POLL_AFTER_MS = 100


async def create(request: web.Request) -> web.StreamResponse:
    cancels_on_disconnect(request)  # the header is valid
    include = includes(request)
    asked = await parse_request(request, partial(wire(request).parse_new_run, ids=id_source(request)))
    busy = parse_busy(request, OF_RUNS)
    return await _create(request, request.match_info["thread_id"], asked, thread=None, busy=busy, include=include)


async def create_thread_and_run(request: web.Request) -> web.StreamResponse:
    cancels_on_disconnect(request)
    thread, asked = await parse_request(
        request, partial(wire(request).parse_new_thread_and_run, ids=id_source(request))
    )
    return await _create(request, id_source(request).new("thread"), asked, thread)


async def get(request: web.Request) -> web.Response:
    return _answer_run(request, await _find_run(request))


async def modify(request: web.Request) -> web.Response:
    """Refuses to modify an active run before it reads the body (docs/behaviour.md, "Errors")."""
    run_id, thread_id = request.match_info["run_id"], request.match_info["thread_id"]
    if not await done_before(request, THREAD, thread_id):
        require_modifiable((await _find_run(request)).status)
    metadata = await parse_request(request, wire(request).parse_metadata_change)
    if metadata is None:
        return answer(wire(request).render_run(await _find_run(request)))
    run, result = await writer(request).thread_on_facts(
        origin(request),
        thread_id,
        read=lambda db: _read(request, db),
        command=lambda run: ModifyRun(run_id, run.status, metadata),
    )
    return answer(wire(request).render_run(_as_of(run, result.recorded, e.RunModified)))


async def cancel(request: web.Request) -> web.Response:
    """Answers with status cancelling, even if the run was cancelled at once."""
    run_id, thread_id = request.match_info["run_id"], request.match_info["thread_id"]
    with request.app[RUNS].claims.offer() as claim:
        run, result = await writer(request).thread_on_facts(
            origin(request),
            thread_id,
            read=lambda db: _read(request, db),
            command=lambda run: CancelRun(run_id, run.status, claim),
        )
    return _answer_run(request, _as_of(run, result.recorded, e.RunCancelling))


async def submit_tool_outputs(request: web.Request) -> web.StreamResponse:
    cancels_on_disconnect(request)
    asked = await parse_request(request, wire(request).parse_tool_outputs)
    run_id, thread_id = request.match_info["run_id"], request.match_info["thread_id"]
    with reserve_stream(request, streams=asked.stream), request.app[LOG].feed.watch(thread_id) as watcher:
        with request.app[RUNS].claims.offer(thread_id=thread_id) as claim:
            run, result = await writer(request).thread_on_facts(
                origin(request),
                thread_id,
                read=lambda db: _read(request, db),
                command=lambda run: SubmitToolOutputs(run_id, run.status, asked.outputs, claim),
            )
        if not asked.stream:
            return _answer_run(request, _as_of(run, result.recorded, e.RunQueued))
        open_steps = await _open_steps(request, result.recorded)
        return await stream_run(request, watcher, result.recorded, run=run, steps=open_steps)


async def page(request: web.Request) -> web.Response:
    project_id, thread_id = origin(request).project_id, request.match_info["thread_id"]
    async with connection(request) as db:
        await threads.get(db, project_id, thread_id)
        found = await runs.page(db, project_id, thread_id, cursor(request))
    return await listing(request, found, wire(request).render_run)


async def _create(
    request: web.Request,
    thread_id: str,
    asked: RunRequest,
    thread: ThreadRequest | None,
    *,
    busy: Busy = "reject",
    include: frozenset[str] = frozenset(),
) -> web.StreamResponse:
    with reserve_stream(request, streams=asked.stream), request.app[LOG].feed.watch(thread_id) as watcher:
        written = await writer(request).find_repeat(THREAD, origin(request), thread_id)
        if written is None:
            written = await _begin(request, thread_id, asked, thread, busy)
        else:
            request.app[LOG].feed.begin(watcher)
        if asked.stream:
            return await stream_run(request, watcher, written.recorded, include=include)
    created = next(entry for entry in written.recorded if isinstance(entry.event, e.RunCreated))
    return _answer_run(request, initial_run(created))


async def _begin(
    request: web.Request, thread_id: str, asked: RunRequest, thread: ThreadRequest | None, busy: Busy
) -> AppendResult[ThreadState]:
    if thread is not None:
        image_hosts.check(request, thread, prefix="thread.")
    image_hosts.check(request, asked)
    await files.check(request, [*(files_named_in(thread) if thread is not None else ()), *files_named_in(asked)])
    settings = await _settings(request, asked)
    new_thread = await prepare_thread(request, thread_id, thread) if thread is not None else None
    run_id, messages = id_source(request).new("run"), asked.additional_messages
    bind_contextvars(thread_id=thread_id, run_id=run_id)
    command = CreateRun(
        run_id=run_id,
        settings=settings,
        messages=messages,
        lifetime=request.app[RUNS].lifetime,
        claim=None,
        thread=new_thread,
        queue=busy == "queue",
        interrupt=busy == "interrupt",
        allows_empty_prompt=asked.allows_empty_prompt,
    )
    await request.app[VECTOR_STORES].attachments.attach(
        origin(request), thread_id, messages, command, skip_unsupported=not wire(request).names_tools_of_files
    )
    with request.app[RUNS].claims.offer(settings.tools, thread_id=thread_id) as claim:
        async with reserve_run(request):
            return await writer(request).thread(origin(request), thread_id, replace(command, claim=claim))


async def _settings(request: web.Request, asked: RunRequest) -> RunSettings:
    """Returns the run's settings: those of its assistant at this moment, overridden by the request. Raises NotFound."""
    async with connection(request) as db:
        assistant = await assistants.get(db, origin(request).project_id, asked.assistant_id)
        assistant = await present(request, db, assistant)
    settings = run_settings(assistant, asked.overrides, asked.additional_instructions)
    if "tool_resources" in asked.overrides:
        attachments = request.app[VECTOR_STORES].attachments
        resources = asked.overrides["tool_resources"]
        resources = await attachments.create_stores(origin(request), resources, id_source(request))
        return replace(settings, tool_resources=resources)
    if "tools" in asked.overrides:
        found = await add_retrieval_stores(request, assistant.id, assistant, {"tools": settings.tools})
        return replace(settings, tool_resources=found.get("tool_resources", settings.tool_resources))
    return settings


async def _open_steps(request: web.Request, recorded: Sequence[RecordedEvent[Any]]) -> list[Step]:
    """Returns the step whose outputs were submitted, in its state before them: a stream begins with its completion."""
    submitted = next(entry.event for entry in recorded if isinstance(entry.event, e.ToolOutputsSubmitted))
    project_id, thread_id = origin(request).project_id, request.match_info["thread_id"]
    step = request.app[RUNS].steps.find_step(thread_id, submitted.step_id, version=recorded[-1].version)
    if step is None:
        async with connection(request) as db:
            step = await steps.get(db, project_id, thread_id, submitted.run_id, submitted.step_id)
    return [replace(step, status="in_progress", ended_at=None, usage=None, outputs={})]


def _as_of(run: Run, recorded: Sequence[RecordedEvent[Any]], last: type[e.RunEvent]) -> Run:
    """Returns the run as of the first event of type `last`. The answer leaves out later events of the same append."""
    for entry in recorded:
        run = replace(run, **(run_patch(entry) or {}))
        if isinstance(entry.event, last):
            break
    return run


async def _find_run(request: web.Request) -> Run:
    async with connection(request) as db:
        return await _read(request, db)


async def _read(request: web.Request, db: Connection) -> Run:
    """Returns the run of the request's path. Raises NotFound for the thread if the thread is missing."""
    project_id, info = origin(request).project_id, request.match_info
    try:
        return await runs.get(db, project_id, info["thread_id"], info["run_id"])
    except NotFound:
        await threads.get(db, project_id, info["thread_id"])
        raise


def _answer_run(request: web.Request, run: Run) -> web.Response:
    return answer(wire(request).render_run(run), openai_poll_after_ms=str(POLL_AFTER_MS))
