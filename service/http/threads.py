"""/threads"""

from __future__ import annotations

from functools import partial

from aiohttp import web

from events.object_changes import new_thread
from events.streams import THREAD
from events.thread.commands import CreateThread, DeleteThread, ModifyThread
from events.vector_store.state import THREAD_DAYS
from projections import threads
from service.http import files, image_hosts
from service.http.bodies import parse_request
from service.http.context import connection, done_before, id_source, origin, wire, writer
from service.http.paging import cursor, listing, parse_filter
from service.http.responses import answer
from service.http.services import VECTOR_STORES
from service.http.visibility import present, present_page, present_written
from service.wire.files import files_named_in
from service.wire.request_types import ThreadRequest


async def create(request: web.Request) -> web.Response:
    asked = await parse_request(request, partial(wire(request).parse_new_thread, ids=id_source(request)))
    thread_id = id_source(request).new("thread")
    if await done_before(request, THREAD, thread_id):
        return await _render(request, thread_id)
    image_hosts.check(request, asked)
    await files.check(request, files_named_in(asked))
    command = await prepare_thread(request, thread_id, asked)
    written = await writer(request).thread(origin(request), thread_id, command)
    created = await present_written(request, new_thread(written.recorded))
    return answer(wire(request).render_thread(created, resources=False))


async def get(request: web.Request) -> web.Response:
    return await _render(request, request.match_info["thread_id"], resources=True)


async def modify(request: web.Request) -> web.Response:
    changes = await parse_request(request, wire(request).parse_thread_changes)
    thread_id = request.match_info["thread_id"]
    if await done_before(request, THREAD, thread_id):
        return await _render(request, thread_id)
    await files.check(request, files_named_in(changes))
    if "tool_resources" in changes:
        async with connection(request) as db:
            await threads.get(db, origin(request).project_id, thread_id)
        changes["tool_resources"] = await request.app[VECTOR_STORES].attachments.create_stores(
            origin(request), changes["tool_resources"], id_source(request), days=THREAD_DAYS
        )
    await writer(request).thread(origin(request), thread_id, ModifyThread(changes))
    return await _render(request, thread_id)


async def delete(request: web.Request) -> web.Response:
    thread_id = request.match_info["thread_id"]
    await writer(request).thread(origin(request), thread_id, DeleteThread())
    return answer(wire(request).render_deleted("thread", thread_id))


async def page(request: web.Request) -> web.Response:
    """The original has no list of threads, so unknown parameters are refused."""
    found = parse_filter(request, strict=True)
    async with connection(request) as db:
        shown = await threads.page(db, origin(request).project_id, cursor(request), found)
        shown = await present_page(request, db, shown)
    return await listing(request, shown, lambda thread: wire(request).render_thread(thread, resources=True))


async def prepare_thread(request: web.Request, thread_id: str, asked: ThreadRequest) -> CreateThread:
    """Returns the command that creates a thread, after creating the vector store that it will name.

    Raises NotFound, FileNotFound and Rejection.
    """
    resources = await request.app[VECTOR_STORES].attachments.prepare_thread(
        origin(request),
        thread_id,
        asked.tool_resources,
        asked.messages,
        id_source(request),
        skip_unsupported=not wire(request).names_tools_of_files,
    )
    return CreateThread(asked.metadata, resources, asked.messages)


async def _render(request: web.Request, thread_id: str, *, resources: bool = False) -> web.Response:
    async with connection(request) as db:
        found = await present(request, db, await threads.get(db, origin(request).project_id, thread_id))
    return answer(wire(request).render_thread(found, resources=resources))
