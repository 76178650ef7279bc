"""/vector_stores"""

from __future__ import annotations

from aiohttp import web

from events.errors import Rejection
from events.objects import VectorStore
from events.streams import VECTOR_STORE
from events.vector_store.commands import DeleteStore, ModifyStore
from projections import vector_stores as stores
from service.http.bodies import parse_request
from service.http.context import clock, connection, done_before, id_source, origin, writer
from service.http.paging import cursor, listing
from service.http.responses import answer
from service.http.services import SEARCH, VECTOR_STORES
from service.search.base import StoreRef
from service.search.filters import jsonpath
from service.vector_stores.operations import record_use
from service.wire.vector_stores import STORES


async def create(request: web.Request) -> web.Response:
    asked = await parse_request(request, STORES.parse_new_store)
    store_id = id_source(request).new_hex("vs")
    if not await done_before(request, VECTOR_STORE, store_id):
        await request.app[VECTOR_STORES].builder.create(origin(request), store_id, asked)
    return await _render(request, store_id)


async def get(request: web.Request) -> web.Response:
    return await _render(request, request.match_info["vector_store_id"])


async def modify(request: web.Request) -> web.Response:
    changes = await parse_request(request, STORES.parse_store_changes)
    store_id = request.match_info["vector_store_id"]
    await writer(request).vector_store(origin(request), store_id, ModifyStore(changes))
    return await _render(request, store_id)


async def delete(request: web.Request) -> web.Response:
    store_id = request.match_info["vector_store_id"]
    await writer(request).vector_store(origin(request), store_id, DeleteStore())
    return answer(STORES.render_deleted_store(store_id))


async def page(request: web.Request) -> web.Response:
    async with connection(request) as db:
        found = await stores.page(db, origin(request).project_id, cursor(request), clock(request).now())
    return await listing(request, found, STORES.render_store)


async def search(request: web.Request) -> web.Response:
    asked = await parse_request(request, STORES.parse_search)
    store = await find_store(request)
    if store.expired:
        raise Rejection(f"Vector store {store.id} is expired.")
    queries = await request.app[SEARCH].rewrite_queries(asked.queries) if asked.rewrite else asked.queries
    found = await request.app[SEARCH].searcher.search(
        [StoreRef(store.id, store.embedding_model)],
        queries,
        limit=asked.limit,
        threshold=asked.threshold,
        where=jsonpath(asked.filter) if asked.filter is not None else None,
        ranker=asked.ranker,
    )
    await record_use(writer(request), origin(request), [store])
    return answer(STORES.render_search_results(found))


async def find_store(request: web.Request) -> VectorStore:
    """Returns the store of the request's path. Raises NotFound."""
    async with connection(request) as db:
        return await stores.get(
            db, origin(request).project_id, request.match_info["vector_store_id"], clock(request).now()
        )


async def _render(request: web.Request, store_id: str) -> web.Response:
    async with connection(request) as db:
        found = await stores.get(db, origin(request).project_id, store_id, clock(request).now())
    return answer(STORES.render_store(found))
