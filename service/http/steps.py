"""/threads/{thread_id}/runs/{run_id}/steps"""

from __future__ import annotations

from aiohttp import web

from events.errors import NotFound
from events.objects import Step
from projections import runs, steps, threads
from service.http.deps import deps, origin, wire
from service.http.frame import answer, includes
from service.http.pages import cursor, listing


async def get(request: web.Request) -> web.Response:
    includes(request)
    project_id, thread_id = origin(request).project_id, request.match_info["thread_id"]
    run_id, step_id = request.match_info["run_id"], request.match_info["step_id"]
    async with deps(request).pool.acquire() as db:
        await threads.get(db, project_id, thread_id)
        await runs.get(db, project_id, thread_id, run_id)
        try:
            found: Step | None = await steps.get(db, project_id, thread_id, run_id, step_id)
        except NotFound:
            found = None
    return answer(wire(request).step(found or await _being_taken(request, step_id)))


async def page(request: web.Request) -> web.Response:
    includes(request)
    project_id, thread_id = origin(request).project_id, request.match_info["thread_id"]
    async with deps(request).pool.acquire() as db:
        await threads.get(db, project_id, thread_id)
        await runs.get(db, project_id, thread_id, request.match_info["run_id"])
        found = await steps.page(db, project_id, thread_id, request.match_info["run_id"], cursor(request))
    return listing(request, found, wire(request).step)


async def _being_taken(request: web.Request, step_id: str) -> Step:
    """The step that an open model call may bring: streams show its id before it is in the log. Raises NotFound."""
    thread_id = request.match_info["thread_id"]
    run = (await deps(request).writer.load_thread(thread_id)).run
    call = run.call if run is not None and run.id == request.match_info["run_id"] else None
    if run is None or call is None or step_id not in (call.message_step_id, call.tool_step_id):
        raise NotFound("run step", step_id)
    writes = step_id == call.message_step_id
    return Step(
        id=step_id,
        thread_id=thread_id,
        run_id=run.id,
        assistant_id=run.assistant_id,
        created_at=call.started_at,
        expires_at=run.expires_at,
        type="message_creation" if writes else "tool_calls",
        message_id=call.message_id if writes else None,
        tool_calls=[],
    )
