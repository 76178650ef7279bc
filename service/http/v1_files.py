"""v1's files of assistants and messages. A file is listed while its File exists; detaching it keeps the File."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web

from events.assistant import ModifyAssistant
from events.errors import FileNotFound
from events.file import TOOL_PURPOSES
from events.objects import Assistant, Message
from events.references import files_of, referenced_files, stores_of, with_file, with_stores, without_file
from events.streams import ASSISTANT
from projections import assistants, files, messages, threads
from projections.rows import Cursor, Page
from service.http.bodies import parse_request
from service.http.context import clock, connection, done_before, origin, wire, writer
from service.http.files import check
from service.http.paging import cursor
from service.http.responses import answer
from service.http.retrieval import add_retrieval_stores, remove_from_own_store
from service.wire.files import ATTACHED_FILES
from service.wire.request_types import FileUse
from sql.connection import Connection


async def attach(request: web.Request) -> web.Response:
    assistant_id = request.match_info["assistant_id"]
    file_id = await parse_request(request, ATTACHED_FILES.parse_attachment)
    if await done_before(request, ASSISTANT, assistant_id):
        return await _assistant_file(request, file_id)
    await check(request, [FileUse(file_id, TOOL_PURPOSES)])

    before = await _assistant(request)
    changes = {"tool_resources": with_file(before.tool_resources, file_id)}
    stores = stores_of((await add_retrieval_stores(request, assistant_id, before, changes))["tool_resources"])

    async def command(db: Connection) -> ModifyAssistant:
        found = await assistants.get(db, origin(request).project_id, assistant_id)
        resources = with_file(found.tool_resources, file_id)
        return ModifyAssistant({"tool_resources": with_stores(resources, stores) if stores else resources})

    await writer(request).assistant(origin(request), assistant_id, command)
    return await _assistant_file(request, file_id)


async def assistant_file(request: web.Request) -> web.Response:
    return await _assistant_file(request, request.match_info["file_id"])


async def detach(request: web.Request) -> web.Response:
    assistant_id = request.match_info["assistant_id"]
    file_id, before = request.match_info["file_id"], await _assistant(request)

    async def command(db: Connection) -> ModifyAssistant:
        found = await assistants.get(db, origin(request).project_id, assistant_id)
        return ModifyAssistant({"tool_resources": without_file(found.tool_resources, file_id)})

    await remove_from_own_store(request, before, [id for id in files_of(before.tool_resources) if id != file_id])
    await writer(request).assistant(origin(request), assistant_id, command)
    return answer(ATTACHED_FILES.render_deleted_file(file_id))


async def assistant_page(request: web.Request) -> web.Response:
    async with connection(request) as db:
        found = await assistants.get(db, origin(request).project_id, request.match_info["assistant_id"])
        existing = await _find_existing(request, db, files_of(found.tool_resources))
    return _answer_page(request, existing, lambda id: ATTACHED_FILES.render_assistant_file(id, found))


async def message_file(request: web.Request) -> web.Response:
    file_id = request.match_info["file_id"]
    async with connection(request) as db:
        found = await _message(request, db)
        existing = await _find_existing(request, db, referenced_files(found))
    if file_id not in existing:
        raise FileNotFound(file_id)
    return answer(ATTACHED_FILES.render_message_file(file_id, found))


async def message_page(request: web.Request) -> web.Response:
    async with connection(request) as db:
        found = await _message(request, db)
        existing = await _find_existing(request, db, referenced_files(found))
    return _answer_page(request, existing, lambda id: ATTACHED_FILES.render_message_file(id, found))


async def _assistant_file(request: web.Request, file_id: str) -> web.Response:
    async with connection(request) as db:
        found = await assistants.get(db, origin(request).project_id, request.match_info["assistant_id"])
        existing = await _find_existing(request, db, files_of(found.tool_resources))
    if file_id not in existing:
        raise FileNotFound(file_id)
    return answer(ATTACHED_FILES.render_assistant_file(file_id, found))


async def _assistant(request: web.Request) -> Assistant:
    async with connection(request) as db:
        return await assistants.get(db, origin(request).project_id, request.match_info["assistant_id"])


async def _message(request: web.Request, db: Connection) -> Message:
    project_id, info = origin(request).project_id, request.match_info
    await threads.get(db, project_id, info["thread_id"])
    return await messages.get(db, project_id, info["thread_id"], info["message_id"])


async def _find_existing(request: web.Request, db: Connection, ids: Sequence[str]) -> list[str]:
    """Returns those of the files that still exist, in order."""
    found = await files.find(db, origin(request).project_id, ids, clock(request).now())
    return [id for id in ids if id in found]


def _answer_page(request: web.Request, ids: Sequence[str], render: Callable[[str], dict[str, Any]]) -> web.Response:
    page = _page(cursor(request), ids)
    return answer(wire(request).render_list([render(id) for id in page.items], page.more))


def _page(asked: Cursor, ids: Sequence[str]) -> Page[str]:
    """Returns a page of a whole list, oldest first. Raises FileNotFound if a cursor is not in the list."""
    for id in (asked.after, asked.before):
        if id is not None and id not in ids:
            raise FileNotFound(id)
    lower, upper = asked.bounds(asked.after, asked.before)
    start = ids.index(lower) + 1 if lower is not None else 0
    end = ids.index(upper) if upper is not None else len(ids)
    between = ids[start:end]
    return asked.page(between if asked.scan == "asc" else between[::-1])
