"""Credentials for browsers and others without a key: tokens for the streams of a thread, links to the content of a
file.
"""

from __future__ import annotations

from urllib.parse import quote

from aiohttp import web

from projections import threads
from service.http import files
from service.http.bodies import parse_request
from service.http.context import KEY, connection, origin, wire
from service.http.hosts import link_base
from service.http.responses import NO_STORE, answer
from service.http.services import ACCESS, ACTS
from service.wire import access


async def stream_token(request: web.Request) -> web.Response:
    """Creates a token for the API version of the request; the stream speaks that version."""
    seconds, base = await parse_request(request, access.parse_stream_token_seconds), link_base(request)
    thread_id = request.match_info["thread_id"]
    async with connection(request) as db:
        await threads.get(db, origin(request).project_id, thread_id)
    token, expires_at = await request.app[ACCESS].signer.sign(
        "stream", thread_id, request[KEY], wire(request).version, seconds
    )
    await request.app[ACTS].record_token(origin(request), "stream", thread_id, expires_at)
    url = f"{base}/v1/threads/{quote(thread_id)}/stream?token={token}"
    return answer(access.render_stream_token(thread_id, token, expires_at, url), cache_control=NO_STORE)


@files.add_detail_to_errors
async def link(request: web.Request) -> web.Response:
    seconds, base = await parse_request(request, access.parse_file_link_seconds), link_base(request)
    file = await files.find_file(request, request.match_info["file_id"])
    token, expires_at = await request.app[ACCESS].signer.sign(
        "file", file.id, request[KEY], wire(request).version, seconds
    )
    await request.app[ACTS].record_token(origin(request), "file", file.id, expires_at)
    url = f"{base}/v1/files/{quote(file.id)}/content?token={token}"
    return answer(access.render_file_link(file.id, expires_at, url), cache_control=NO_STORE)
