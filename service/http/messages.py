"""/threads/{thread_id}/messages"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from aiohttp import web

from events.errors import NotFound
from events.object_changes import client_message
from events.objects import Message
from events.streams import THREAD
from events.thread.commands import AddMessage, DeleteMessage, ModifyMessage
from events.thread.events import MessageAdded
from projections import messages, placeholders, threads
from service.http import files, image_hosts
from service.http.bodies import parse_request
from service.http.context import connection, done_before, id_source, origin, wire, writer
from service.http.paging import cursor, listing
from service.http.queueing import OF_MESSAGES, parse_busy
from service.http.responses import answer
from service.http.services import VECTOR_STORES
from service.http.visibility import present, present_page, present_written
from service.wire.files import files_named_in
from service.wire.query import parse_id
from sql.connection import Connection


async def create(request: web.Request) -> web.Response:
    message = await parse_request(request, partial(wire(request).parse_new_message, ids=id_source(request)))
    thread_id = request.match_info["thread_id"]
    if await done_before(request, THREAD, thread_id):
        return await _render(request, message.id)
    image_hosts.check(request, message)
    await files.check(request, files_named_in(message))
    command = AddMessage(message, queue=parse_busy(request, OF_MESSAGES) == "queue")
    await request.app[VECTOR_STORES].attachments.attach(
        origin(request), thread_id, [message], command, skip_unsupported=not wire(request).names_tools_of_files
    )
    written = await writer(request).thread(origin(request), thread_id, command)
    added = next(entry for entry in written.recorded if isinstance(entry.event, MessageAdded))
    return answer(wire(request).render_message(await present_written(request, client_message(added))))


async def get(request: web.Request) -> web.Response:
    return await _render(request, request.match_info["message_id"])


async def modify(request: web.Request) -> web.Response:
    metadata = await parse_request(request, wire(request).parse_metadata_change)
    message_id = request.match_info["message_id"]
    if metadata is None:
        return answer(wire(request).render_modified_message(await _read(request, message_id)))
    before, _ = await writer(request).thread_on_facts(
        origin(request),
        request.match_info["thread_id"],
        read=lambda db: _find_message(request, db, message_id),
        command=lambda found: ModifyMessage(message_id, found is not None, metadata),
    )
    assert before is not None, "the command is refused if there is no message"
    modified = await present_written(request, replace(before, metadata=metadata))
    return answer(wire(request).render_modified_message(modified))


async def delete(request: web.Request) -> web.Response:
    message_id = request.match_info["message_id"]

    async def command(db: Connection) -> DeleteMessage:
        found = await _find_message(request, db, message_id)
        return DeleteMessage(message_id, found.role if found else None)

    await writer(request).thread(origin(request), request.match_info["thread_id"], command)
    return answer(wire(request).render_deleted("thread.message", message_id))


async def page(request: web.Request) -> web.Response:
    project_id, thread_id = origin(request).project_id, request.match_info["thread_id"]
    async with connection(request) as db:
        await threads.get(db, project_id, thread_id)
        run_id = parse_id(request.query, "run_id")
        found = await messages.page(db, project_id, thread_id, cursor(request), run_id)
        found = await present_page(request, db, found)
    return await listing(request, found, wire(request).render_message)


async def _find_message(request: web.Request, db: Connection, message_id: str) -> Message | None:
    try:
        return await messages.get(db, origin(request).project_id, request.match_info["thread_id"], message_id)
    except NotFound:
        return None


async def _render(request: web.Request, message_id: str) -> web.Response:
    return answer(wire(request).render_message(await _read(request, message_id)))


async def _read(request: web.Request, message_id: str) -> Message:
    project_id, thread_id = origin(request).project_id, request.match_info["thread_id"]
    async with connection(request) as db:
        await threads.get(db, project_id, thread_id)
        found = await _find_message(request, db, message_id)
        if found is None:
            return await placeholders.message(db, project_id, thread_id, message_id)
        return await present(request, db, found)
