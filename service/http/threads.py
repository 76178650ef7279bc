"""/threads"""

from __future__ import annotations

from functools import partial

from aiohttp import web

from events.object_changes import new_thread
from events.objects import Thread
from events.streams import THREAD
from events.thread.commands import CreateThread, DeleteThread, ModifyThread
from events.vector_store.state import THREAD_DAYS
from projections import thread_words, threads
from projections.metadata import Filter
from projections.rows import Page
from projections.thread_words import ThreadQuery
from service.http import files, image_hosts
from service.http.bodies import parse_request
from service.http.context import connection, done_before, id_source, origin, wire, writer
from service.http.paging import cursor, listing, parse_filter
from service.http.responses import answer
from service.http.services import VECTOR_STORES
from service.http.visibility import present, present_page, present_written
from service.thread_search.text_query import words_query
from service.wire.files import files_named_in
from service.wire.request_types import ThreadRequest, ThreadSearch
from service.wire.thread_search import PARAMETERS, parse_thread_search
from sql.connection import Connection


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
    found = parse_filter(request, strict=True, others=PARAMETERS)
    searched = parse_thread_search(request.query)
    async with connection(request) as db:
        if searched is None:
            shown = await threads.page(db, origin(request).project_id, cursor(request), found)
        else:
            shown = await _search(request, db, found, searched)
        shown = await present_page(request, db, shown)
    return await listing(request, shown, lambda thread: wire(request).render_thread(thread, resources=True))


async def _search(request: web.Request, db: Connection, only: Filter, searched: ThreadSearch) -> Page[Thread]:
    project_id, words = origin(request).project_id, None
    if searched.text is not None:
        words = await words_query(db, project_id, searched.text)
        if words is None:
            return Page([], more=False)
    wanted = ThreadQuery(words=words, assistant_id=searched.assistant_id, status=searched.status)
    return await thread_words.page(db, project_id, cursor(request), only, wanted)


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
