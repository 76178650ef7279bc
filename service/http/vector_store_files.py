"""/vector_stores/{vector_store_id}/files and …/file_batches"""

from __future__ import annotations

from aiohttp import web

from events.errors import Rejection
from events.objects import VectorStoreFile
from events.streams import VECTOR_STORE
from events.vector_store.commands import CancelBatch, ChangeAttributes, RemoveFile
from projections import vector_store_batches as batches
from projections import vector_store_files as files
from service.http.bodies import parse_request
from service.http.context import clock, connection, done_before, id_source, origin, writer
from service.http.paging import cursor, listing
from service.http.responses import answer
from service.http.services import SEARCH, VECTOR_STORES
from service.http.vector_stores import find_store
from service.wire.vector_stores import STORES
from sql.connection import Connection

# Chunks in one page of a file's content.
CONTENT_PAGE = 5_000


async def add(request: web.Request) -> web.Response:
    asked = await parse_request(request, STORES.parse_new_file)
    await find_store(request)
    if not await done_before(request, VECTOR_STORE, _store_id(request)):
        await request.app[VECTOR_STORES].builder.add_files(origin(request), _store_id(request), [asked])
    return await _render(request, asked.id)


async def get(request: web.Request) -> web.Response:
    return await _render(request, request.match_info["file_id"])


async def change_attributes(request: web.Request) -> web.Response:
    attributes = await parse_request(request, STORES.parse_attributes)
    store_id, file_id = _store_id(request), (await _find_file(request)).id

    async def command(db: Connection) -> ChangeAttributes:
        return ChangeAttributes(file_id, await files.fact(db, store_id, file_id), attributes)

    await writer(request).vector_store(origin(request), store_id, command)
    return await _render(request, file_id)


async def remove(request: web.Request) -> web.Response:
    """Takes the file out of the store; the File itself stays."""
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
    asked = await parse_request(request, STORES.parse_new_batch)
    await find_store(request)
    store_id, batch_id = _store_id(request), id_source(request).new_hex("vsfb")
    if not await done_before(request, VECTOR_STORE, store_id):
        await request.app[VECTOR_STORES].builder.create_batch(origin(request), store_id, batch_id, asked.files)
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


async def _page(request: web.Request, batch_id: str | None) -> web.Response:
    project_id, store_id = origin(request).project_id, _store_id(request)
    status, asked = STORES.parse_status_filter(request.query), cursor(request)
    await find_store(request)
    async with connection(request) as db:
        if batch_id is not None:
            await batches.get(db, project_id, store_id, batch_id)
        found = await files.page(
            db, project_id, store_id, asked, clock(request).now(), status=status, batch_id=batch_id
        )
    return await listing(request, found, STORES.render_file)


async def _find_file(request: web.Request, file_id: str | None = None) -> VectorStoreFile:
    """Returns the file of the path, or `file_id`, in the store of the path. Raises NotFound for either."""
    await find_store(request)
    wanted = file_id or request.match_info["file_id"]
    async with connection(request) as db:
        return await files.get(db, origin(request).project_id, _store_id(request), wanted, clock(request).now())


async def _render(request: web.Request, file_id: str) -> web.Response:
    return answer(STORES.render_file(await _find_file(request, file_id)))


async def _render_batch(request: web.Request, batch_id: str) -> web.Response:
    await find_store(request)
    async with connection(request) as db:
        found = await batches.get(db, origin(request).project_id, _store_id(request), batch_id)
    return answer(STORES.render_batch(found))


def _store_id(request: web.Request) -> str:
    return request.match_info["vector_store_id"]
