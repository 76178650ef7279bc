"""/threads/{thread_id}/runs/{run_id}/steps"""

from __future__ import annotations

from functools import partial

from aiohttp import web

from events.errors import NotFound
from projections import placeholders, runs, steps, threads
from service.http.context import connection, origin, wire
from service.http.paging import cursor, listing
from service.http.responses import answer, includes


async def get(request: web.Request) -> web.Response:
    include = includes(request)
    project_id, thread_id = origin(request).project_id, request.match_info["thread_id"]
    run_id, step_id = request.match_info["run_id"], request.match_info["step_id"]
    async with connection(request) as db:
        await threads.get(db, project_id, thread_id)
        await runs.get(db, project_id, thread_id, run_id)
        try:
            found = await steps.get(db, project_id, thread_id, run_id, step_id)
        except NotFound:
            found = await placeholders.step(db, project_id, thread_id, run_id, step_id)
    return answer(wire(request).render_step(found, include=include))


async def page(request: web.Request) -> web.Response:
    include = includes(request)
    project_id, thread_id = origin(request).project_id, request.match_info["thread_id"]
    async with connection(request) as db:
        await threads.get(db, project_id, thread_id)
        await runs.get(db, project_id, thread_id, request.match_info["run_id"])
        found = await steps.page(db, project_id, thread_id, request.match_info["run_id"], cursor(request))
    return await listing(request, found, partial(wire(request).render_step, include=include))
