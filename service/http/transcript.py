"""GET /v1/threads/{thread_id}/transcript: a thread with its messages, to download as JSON or Markdown.

It is read and sent page by page. A message that arrives meanwhile may be in it; one that is deleted meanwhile may be
missing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import structlog
from aiohttp import hdrs, web

from events.errors import NotFound
from events.objects import Message, Thread
from projections import files as file_view
from projections import messages, threads
from projections.rows import Cursor
from service.http.context import REQUEST_ID, clock, connection, origin, wire
from service.http.responses import WRITE_TIMEOUT, headers
from service.http.visibility import present, present_page
from service.wire.transcript import FORMATS, Transcript, named_files, new_transcript, parse_transcript_format
from sql.connection import Connection

log = structlog.get_logger()

# Messages that are read at once; fewer if they are long (`projections.rows.MAX_PAGE_BYTES`).
PAGE_MESSAGES = 100


async def download(request: web.Request) -> web.StreamResponse:
    started, form = time.perf_counter(), parse_transcript_format(request.query)
    async with connection(request) as db:
        thread = await threads.get(db, origin(request).project_id, request.match_info["thread_id"])
        thread = await present(request, db, thread)
    media, ending = FORMATS[form]
    response = web.StreamResponse(headers=headers(request[REQUEST_ID], (time.perf_counter() - started) * 1000))
    response.headers[hdrs.CONTENT_TYPE] = f"{media}; charset=utf-8"
    response.headers[hdrs.CONTENT_DISPOSITION] = f'attachment; filename="{thread.id}.{ending}"'
    response.headers["X-Content-Type-Options"] = "nosniff"
    await response.prepare(request)
    if request.method == hdrs.METH_HEAD:
        return response
    try:
        async with asyncio.timeout(WRITE_TIMEOUT) as patience:
            async for part in _parts(request, thread, new_transcript(form)):
                await response.write(part)
                patience.reschedule(asyncio.get_running_loop().time() + WRITE_TIMEOUT)
            await response.write_eof()
    except (ConnectionError, TimeoutError) as error:
        log.info("download_client_disconnected", error=type(error).__name__)
        response.force_close()
    except NotFound:  # the thread was deleted meanwhile: the client gets a broken answer, and not a whole one
        response.force_close()
    return response


async def _parts(request: web.Request, thread: Thread, transcript: Transcript) -> AsyncIterator[bytes]:
    yield transcript.begin(thread, wire(request).render_thread(thread, resources=True))
    after: str | None = None
    while True:
        async with connection(request) as db:
            await threads.get(db, origin(request).project_id, thread.id)
            cursor = Cursor(limit=PAGE_MESSAGES, order="asc", after=after)
            page = await messages.page(db, origin(request).project_id, thread.id, cursor, None)
            page = await present_page(request, db, page)
            names = await _file_names(request, db, page.items)
        for message in page.items:
            yield transcript.add(message, wire(request).render_message(message), names)
        if not page.more or not page.items:
            break
        after = page.items[-1].id
    yield transcript.end()


async def _file_names(request: web.Request, db: Connection, page: list[Message]) -> dict[str, str]:
    """Returns the names of the files that the messages name and that exist, by id."""
    ids = {id for message in page for id in named_files(message)}
    if not ids:
        return {}
    found = await file_view.find(db, origin(request).project_id, ids, clock(request).now())
    return {id: file.filename for id, file in found.items()}
