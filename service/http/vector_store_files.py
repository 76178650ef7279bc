"""/vector_stores/{vector_store_id}/files and …/file_batches"""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from events.errors import Rejection
from events.objects import VectorStoreFile
from events.streams import VECTOR_STORE
from events.vector_store.commands import (
    AddFiles,
    CancelBatch,
    ChangeAttributes,
    CreateBatch,
    NewFile,
    RemoveFile,
)
from projections import vector_store_batches as batches
from projections import vector_store_files as files
from service.http.bodies import json_body
from service.http.context import clock, connection, done_before, id_source, origin, writer
from service.http.paging import cursor, listing
from service.http.responses import answer
from service.http.services import SEARCH
from service.http.vector_stores import found_store, to_index
from service.wire.vector_stores import STORES
from service.writer import Ask
from sql.connection import Connection

# Chunks in one page of a file's content.
CONTENT_PAGE = 5_000


async def add(request: web.Request) -> web.Response:
    asked = STORES.parse_new_file(await json_body(request))
    await found_store(request)
    if not await done_before(request, VECTOR_STORE, _store_id(request)):
        command = adding(request, _store_id(request), await to_index(request, [asked]))
        await writer(request).vector_store(origin(request), _store_id(request), command)
    return await _render(request, asked.id)


async def get(request: web.Request) -> web.Response:
    return await _render(request, request.match_info["file_id"])


async def change_attributes(request: web.Request) -> web.Response:
    attributes = STORES.parse_attributes(await json_body(request))
    store_id, file_id = _store_id(request), (await _find_file(request)).id

    async def command(db: Connection) -> ChangeAttributes:
        return ChangeAttributes(file_id, await files.fact(db, store_id, file_id), attributes)

    await writer(request).vector_store(origin(request), store_id, command)
    return await _render(request, file_id)


async def remove(request: web.Request) -> web.Response:
    """Removes the file from the store. The File itself remains."""
    store_id, file_id = _store_id(request), request.match_info["file_id"]

    async def command(db: Connection) -> RemoveFile:
        return RemoveFile(file_id, await files.fact(db, store_id, file_id))

    await writer(request).vector_store(origin(request), store_id, command)
    return answer(STORES.render_deleted_file(file_id))


async def content(request: web.Request) -> web.Response:
    after = STORES.parse_content_page(request.query)
    file = await _find_file(request)
    if file.status != "completed":
        raise Rejection(f"File {file.id} is {file.status}: its content can be read once it is completed.")
    texts = await request.app[SEARCH].searcher.chunk_texts(
        _store_id(request), file.id, after=after, limit=CONTENT_PAGE + 1
    )
    more = len(texts) > CONTENT_PAGE
    return answer(STORES.render_content(texts[:CONTENT_PAGE], after + CONTENT_PAGE if more else None))


async def page(request: web.Request) -> web.Response:
    return await _page(request, None)


async def create_batch(request: web.Request) -> web.Response:
    asked = STORES.parse_new_batch(await json_body(request))
    await found_store(request)
    store_id, batch_id, limit = (
        _store_id(request),
        id_source(request).new_hex("vsfb"),
        request.app[SEARCH].max_store_files,
    )
    if await done_before(request, VECTOR_STORE, store_id):
        return await _render_batch(request, batch_id)
    new = await to_index(request, asked.files)

    async def command(db: Connection) -> CreateBatch:
        return CreateBatch(batch_id, new, await files.facts(db, store_id, _ids(new)), limit)

    await writer(request).vector_store(origin(request), store_id, command)
    return await _render_batch(request, batch_id)


async def get_batch(request: web.Request) -> web.Response:
    return await _render_batch(request, request.match_info["batch_id"])


async def cancel_batch(request: web.Request) -> web.Response:
    store_id, batch_id = _store_id(request), request.match_info["batch_id"]

    async def command(db: Connection) -> CancelBatch:
        fact = await batches.fact(db, origin(request).project_id, store_id, batch_id)
        return CancelBatch(batch_id, fact)

    await writer(request).vector_store(origin(request), store_id, command)
    return await _render_batch(request, batch_id)


async def batch_page(request: web.Request) -> web.Response:
    return await _page(request, request.match_info["batch_id"])


def adding(request: web.Request, store_id: str, new: Sequence[NewFile]) -> Ask[AddFiles]:
    """Returns the command that adds the files to the store."""
    limit = request.app[SEARCH].max_store_files

    async def command(db: Connection) -> AddFiles:
        return AddFiles(new, await files.facts(db, store_id, _ids(new)), limit)

    return command


async def _page(request: web.Request, batch_id: str | None) -> web.Response:
    project_id, store_id = origin(request).project_id, _store_id(request)
    status, asked = STORES.parse_status_filter(request.query), cursor(request)
    await found_store(request)
    async with connection(request) as db:
        if batch_id is not None:
            await batches.get(db, project_id, store_id, batch_id)
        found = await files.page(
            db, project_id, store_id, asked, clock(request).now(), status=status, batch_id=batch_id
        )
    return listing(request, found, STORES.render_file)


async def _find_file(request: web.Request, file_id: str | None = None) -> VectorStoreFile:
    """Returns the file of the path, in the store of the path. Raises NotFound for the store if the store is missing."""
    await found_store(request)
    wanted = file_id or request.match_info["file_id"]
    async with connection(request) as db:
        return await files.get(db, origin(request).project_id, _store_id(request), wanted, clock(request).now())


async def _render(request: web.Request, file_id: str) -> web.Response:
    return answer(STORES.render_file(await _find_file(request, file_id)))


async def _render_batch(request: web.Request, batch_id: str) -> web.Response:
    await found_store(request)
    async with connection(request) as db:
        found = await batches.get(db, origin(request).project_id, _store_id(request), batch_id)
    return answer(STORES.render_batch(found))


def _store_id(request: web.Request) -> str:
    return request.match_info["vector_store_id"]


def _ids(new: Sequence[NewFile]) -> list[str]:
    return [file.file_id for file in new]
