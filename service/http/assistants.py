"""/assistants"""

from __future__ import annotations

from dataclasses import fields

from aiohttp import web

from events.assistant import CreateAssistant, DeleteAssistant, ModifyAssistant
from events.object_changes import initial_assistant
from events.objects import Assistant, Json
from events.references import files_of
from events.streams import ASSISTANT
from projections import assistants
from service.http import files
from service.http.bodies import parse_request
from service.http.context import connection, done_before, id_source, origin, wire, writer
from service.http.paging import cursor, listing, parse_filter
from service.http.past import viewer
from service.http.responses import answer
from service.http.retrieval import add_retrieval_stores, remove_from_own_store
from service.http.services import TIME_TRAVEL, VECTOR_STORES
from service.http.visibility import present, present_page, present_written
from service.replay.past_assistant import list_versions, read_assistant
from service.wire.as_of import StreamVersion
from service.wire.assistant_versions import (
    parse_restoration,
    parse_versions_query,
    render_version,
    render_versions_page,
    restored_settings,
)
from service.wire.files import files_named_in


async def create(request: web.Request) -> web.Response:
    settings = await parse_request(request, wire(request).parse_new_assistant)
    assistant_id = id_source(request).new("asst")
    if await done_before(request, ASSISTANT, assistant_id):
        return await _render(request, assistant_id)
    await files.check(request, files_named_in(settings))
    resources = await request.app[VECTOR_STORES].attachments.create_stores(
        origin(request), settings["tool_resources"], id_source(request), owner_id=assistant_id
    )
    settings = await add_retrieval_stores(request, assistant_id, None, {**settings, "tool_resources": resources})
    written = await writer(request).assistant(origin(request), assistant_id, CreateAssistant(settings))
    created = await present_written(request, initial_assistant(written.recorded[0]))
    return answer(wire(request).render_assistant(created))


async def get(request: web.Request) -> web.Response:
    return await _render(request, request.match_info["assistant_id"])


async def modify(request: web.Request) -> web.Response:
    changes = await parse_request(request, wire(request).parse_assistant_changes)
    assistant_id = request.match_info["assistant_id"]
    if await done_before(request, ASSISTANT, assistant_id):
        return await _render(request, assistant_id)
    await files.check(request, files_named_in(changes))
    async with connection(request) as db:
        before = await assistants.get(db, origin(request).project_id, assistant_id)
    if "tool_resources" in changes:
        changes["tool_resources"] = await request.app[VECTOR_STORES].attachments.create_stores(
            origin(request), changes["tool_resources"], id_source(request)
        )
    return await _change(request, before, changes)


async def versions(request: web.Request) -> web.Response:
    """Lists the changes of an assistant, the newest first. `GET …?at=version` returns it as it was after one."""
    asked, assistant_id = parse_versions_query(request.query), request.match_info["assistant_id"]
    found = await list_versions(
        request.app[TIME_TRAVEL], viewer(request), assistant_id, before=asked.before, limit=asked.limit
    )
    entries = [render_version(assistant_id, recorded) for recorded in found.items]
    return answer(render_versions_page(entries, more=found.more))


async def restore(request: web.Request) -> web.Response:
    """Gives an assistant the settings of an earlier version. Files and stores that were deleted since are left out."""
    version = await parse_request(request, parse_restoration)
    assistant_id = request.match_info["assistant_id"]
    if await done_before(request, ASSISTANT, assistant_id):
        return await _render(request, assistant_id)
    async with connection(request) as db:
        before = await assistants.get(db, origin(request).project_id, assistant_id)
    past = await read_assistant(request.app[TIME_TRAVEL], viewer(request), assistant_id, StreamVersion(version))
    async with connection(request) as db:
        past = await present(request, db, past)
    settings = {field.name: getattr(past, field.name) for field in fields(past)}
    return await _change(request, before, restored_settings(settings), restored_from=version)


async def _change(
    request: web.Request, before: Assistant, changes: Json, *, restored_from: int | None = None
) -> web.Response:
    changes = await add_retrieval_stores(request, before.id, before, changes)
    if "tool_resources" in changes:
        await remove_from_own_store(request, before, files_of(changes["tool_resources"]))
    await writer(request).assistant(origin(request), before.id, ModifyAssistant(changes, restored_from))
    return await _render(request, before.id)


async def delete(request: web.Request) -> web.Response:
    assistant_id = request.match_info["assistant_id"]
    await writer(request).assistant(origin(request), assistant_id, DeleteAssistant())
    return answer(wire(request).render_deleted("assistant", assistant_id))


async def page(request: web.Request) -> web.Response:
    async with connection(request) as db:
        found = await assistants.page(db, origin(request).project_id, cursor(request), parse_filter(request))
        found = await present_page(request, db, found)
    return await listing(request, found, wire(request).render_assistant)


async def _render(request: web.Request, assistant_id: str) -> web.Response:
    async with connection(request) as db:
        found = await present(request, db, await assistants.get(db, origin(request).project_id, assistant_id))
    return answer(wire(request).render_assistant(found))
