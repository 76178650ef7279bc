"""Vector stores of assistants and threads: named by id, made by the helper, or filled by attachments and v1's file_ids.

No transaction crosses streams: the store comes first, under an id that follows from its owner's, and then the event of
the owner that names it. A crash between leaves a store that nobody names, which is harmless.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from aiohttp import web

from events.objects import Assistant, Json
from events.references import files_store_id, own_store_id, stores_of, with_stores
from events.streams import THREAD
from events.thread.commands import AddMessage, CreateRun, ModifyThread, NewMessage
from events.vector_store.commands import CreateStore, NewFile
from events.vector_store.state import THREAD_DAYS
from projections import threads, vector_stores
from service.http.context import clock, connection, id_source, origin, wire, writer
from service.http.services import SEARCH
from service.http.vector_store_files import adding
from service.http.vector_stores import creation, to_index
from service.vector_stores import operations
from service.wire.chunking_strategy import to_chunking
from service.wire.request_types import FileToIndex, ThreadRequest


async def check(request: web.Request, resources: Json) -> None:
    """Raises NotFound for a store that the resources name and that is not there."""
    named = stores_of(resources)
    if named:
        async with connection(request) as db:
            await operations.found(db, origin(request).project_id, named, clock(request).now())


async def made(request: web.Request, resources: Json, owner_id: str | None, days: int | None = None) -> Json:
    """The resources with the helper's store made and named by id; its id follows from the owner's, where it is new.

    `days` is when a store made so expires. Raises NotFound, FileNotFound, Rejection.
    """
    await check(request, resources)
    helpers = resources.get("file_search", {}).get("vector_stores", ())
    if not helpers:
        return resources
    ids = []
    for helper in helpers:
        store_id = own_store_id(owner_id) if owner_id is not None else id_source(request).new_hex("vs")
        command = await creation(request, helper, expires_after=days)
        await writer(request).vector_store(origin(request), store_id, command)
        ids.append(store_id)
    return with_stores(resources, ids)


async def thread_made(request: web.Request, asked: ThreadRequest, thread_id: str) -> ThreadRequest:
    """A thread to be, with its store made, and its messages' attachments in it."""
    resources = await made(request, asked.tool_resources, thread_id, THREAD_DAYS)
    named = await _filled(request, thread_id, asked.messages, stores_of(resources))
    return ThreadRequest(asked.metadata, with_stores(resources, named) if named else resources, asked.messages)


async def attach(
    request: web.Request, thread_id: str, messages: Sequence[NewMessage], command: AddMessage | CreateRun
) -> None:
    """Puts what the messages of a thread bring for file_search into its store, which is made where it is missing.

    `command` is what brings them: where it would be refused, nothing is put anywhere. A thread that names no store gets
    this one with the message (`events.object_changes.attach_files`); where it names one that is gone, it is told first:
    aside, for another try finds it told. Raises what the command's refusal raises, NotFound, FileNotFound, Rejection.
    """
    if not any(_brought(messages)):
        return
    await writer(request).check(THREAD, origin(request), thread_id, command)
    async with connection(request) as db:
        resources = (await threads.get(db, origin(request).project_id, thread_id)).tool_resources
    before = stores_of(resources)
    named = await _filled(request, thread_id, messages, before)
    if before and named != before:
        told = ModifyThread({"tool_resources": with_stores(resources, named)})
        await writer(request).thread(origin(request).aside(thread_id), thread_id, told)


async def retrieval(
    request: web.Request, assistant_id: str, before: Assistant | None, settings: dict[str, Any]
) -> dict[str, Any]:
    """Settings (or changes) of an assistant, with the vector stores that its file search needs (`wire.retrieval`).

    Puts files into the assistant's own store if the version searches them. Raises FileNotFound, Rejection.
    """
    plan = wire(request).retrieval_plan(assistant_id, before, settings)
    existing = await _existing(request, plan.named)
    if plan.files:
        await _add(request, plan.own_store, plan.files, None)
    return plan.settings_with(existing)


async def forgotten(request: web.Request, before: Assistant, after: Iterable[str]) -> None:
    """Takes files that v1 is taking from an assistant out of the store that was made for them.

    To be done before the assistant changes: whoever asks again then, after a crash, still finds what is to be done.
    """
    for file_id in wire(request).files_to_unindex(before, after):
        await operations.remove_file(writer(request), origin(request), files_store_id(before.id), file_id)


async def _filled(request: web.Request, thread_id: str, messages: Sequence[NewMessage], named: list[str]) -> list[str]:
    """The thread's stores once they have what the messages bring."""
    brought = list(dict.fromkeys(_brought(messages)))
    if not brought:
        return named
    there = await _existing(request, named)
    store_id = there[0] if there else own_store_id(thread_id)
    await _add(request, store_id, brought, THREAD_DAYS)
    return [store_id]


async def _existing(request: web.Request, named: Sequence[str]) -> list[str]:
    if not named:
        return []
    async with connection(request) as db:
        there = await vector_stores.find(db, origin(request).project_id, named, clock(request).now())
    return [id for id in named if id in there]


async def _add(request: web.Request, store_id: str, file_ids: Sequence[str], days: int | None) -> None:
    """Adds files to a store, which is made where it is missing."""
    new: list[NewFile] = await to_index(request, [FileToIndex(id, to_chunking(None), {}) for id in file_ids])
    model = request.app[SEARCH].embedding_model
    creating = CreateStore(None, None, {}, days, model, if_missing=True)
    await writer(request).vector_store(origin(request), store_id, creating)
    await writer(request).vector_store(origin(request), store_id, adding(request, store_id, new))


def _brought(messages: Sequence[NewMessage]) -> Iterable[str]:
    """The files that messages bring for file_search."""
    for message in messages:
        for attachment in message.attachments:
            if any(tool["type"] == "file_search" for tool in attachment.get("tools", ())):
                yield attachment["file_id"]
