"""Requests with `at`: objects and lists as they were (docs/replay.md)."""

from __future__ import annotations

from functools import partial

from aiohttp import web

from events.errors import Rejection
from service.http.context import KEY, origin, wire
from service.http.paging import cursor, listing, parse_filter
from service.http.responses import answer, includes
from service.http.services import TIME_TRAVEL
from service.replay import past_lists
from service.replay.past_assistant import read_assistant
from service.replay.past_store import PastVectorStore
from service.replay.past_thread import PastThread
from service.replay.time_travel import TimeTravel, Viewer
from service.wire.as_of import AT, Moment, parse_as_of, parse_moment
from service.wire.query import parse_id
from service.wire.vector_stores import STORES


async def get_thread(request: web.Request) -> web.Response:
    return answer(wire(request).render_thread(await _thread(request).thread(), resources=True))


async def list_threads(request: web.Request) -> web.Response:
    only, at, asked = parse_filter(request, strict=True), _moment(request), cursor(request)
    found = await past_lists.list_threads(_travel(request), viewer(request), at, asked, only)
    return await listing(request, found, lambda thread: wire(request).render_thread(thread, resources=True))


async def get_message(request: web.Request) -> web.Response:
    found = await _thread(request).message(request.match_info["message_id"])
    return answer(wire(request).render_message(found))


async def list_messages(request: web.Request) -> web.Response:
    run_id = parse_id(request.query, "run_id")
    found = await _thread(request).messages(cursor(request), run_id)
    return await listing(request, found, wire(request).render_message)


async def get_run(request: web.Request) -> web.Response:
    return answer(wire(request).render_run(await _thread(request).run(request.match_info["run_id"])))


async def list_runs(request: web.Request) -> web.Response:
    return await listing(request, await _thread(request).runs(cursor(request)), wire(request).render_run)


async def get_step(request: web.Request) -> web.Response:
    include = includes(request)
    found = await _thread(request).step(request.match_info["run_id"], request.match_info["step_id"])
    return answer(wire(request).render_step(found, include=include))


async def list_steps(request: web.Request) -> web.Response:
    include = includes(request)
    found = await _thread(request).steps(request.match_info["run_id"], cursor(request))
    return await listing(request, found, partial(wire(request).render_step, include=include))


async def get_assistant(request: web.Request) -> web.Response:
    at, assistant_id = parse_as_of(_at(request)), request.match_info["assistant_id"]
    found = await read_assistant(_travel(request), viewer(request), assistant_id, at)
    return answer(wire(request).render_assistant(found))


async def list_assistants(request: web.Request) -> web.Response:
    only, at, asked = parse_filter(request), _moment(request), cursor(request)
    found = await past_lists.list_assistants(_travel(request), viewer(request), at, asked, only)
    return await listing(request, found, wire(request).render_assistant)


async def get_vector_store(request: web.Request) -> web.Response:
    return answer(STORES.render_store(await _store(request).store()))


async def list_vector_stores(request: web.Request) -> web.Response:
    at, asked = _moment(request), cursor(request)
    found = await past_lists.list_stores(_travel(request), viewer(request), at, asked)
    return await listing(request, found, STORES.render_store)


async def get_vector_store_file(request: web.Request) -> web.Response:
    return answer(STORES.render_file(await _store(request).file(request.match_info["file_id"])))


async def list_vector_store_files(request: web.Request) -> web.Response:
    status = STORES.parse_status_filter(request.query)
    found = await _store(request).files(cursor(request), status=status)
    return await listing(request, found, STORES.render_file)


async def get_file_batch(request: web.Request) -> web.Response:
    return answer(STORES.render_batch(await _store(request).batch(request.match_info["batch_id"])))


async def list_batch_files(request: web.Request) -> web.Response:
    status, batch_id = STORES.parse_status_filter(request.query), request.match_info["batch_id"]
    found = await _store(request).files(cursor(request), status=status, batch_id=batch_id)
    return await listing(request, found, STORES.render_file)


def _travel(request: web.Request) -> TimeTravel:
    return request.app[TIME_TRAVEL]


def viewer(request: web.Request) -> Viewer:
    """Returns the project of the key. Only the scope audit:content sees what is deleted by now."""
    return Viewer(origin(request).project_id, sees_deleted=request[KEY].scope == "audit:content")


def _at(request: web.Request) -> str:
    """Returns the parameter `at`. Raises Rejection if it is given more than once."""
    [given, *others] = request.query.getall(AT)
    if others:
        raise Rejection(f"'{AT}' was given more than once.", param=AT, code="invalid_value")
    return given


def _moment(request: web.Request) -> Moment:
    return parse_moment(_at(request))


def _thread(request: web.Request) -> PastThread:
    at = parse_as_of(_at(request))
    return PastThread(_travel(request), viewer(request), request.match_info["thread_id"], at)


def _store(request: web.Request) -> PastVectorStore:
    at = parse_as_of(_at(request))
    return PastVectorStore(_travel(request), viewer(request), request.match_info["vector_store_id"], at)
