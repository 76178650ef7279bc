"""GET /v1/audit/events: the events of the log, as pages or as a stream of server-sent events.

A key reads the events of its own project. A key of the project `installation` reads those of all projects.
"""

from __future__ import annotations

import asyncio
from contextlib import closing

import orjson
import structlog
from aiohttp import web

from events.installation import INSTALLATION_ID
from service.audit.audit_feed import AuditFilter, AuditPage, find_lost, read_page, read_page_down
from service.audit.log_tree import load_sizes
from service.database import DATABASE_ERRORS
from service.feed import Watcher, WatcherEnded
from service.http.context import KEY, REQUEST_ID, audited_project, connection
from service.http.errors import ApiError
from service.http.event_source import RETRY, end_with_access
from service.http.paging import render_all
from service.http.rate_limits import reserve_stream
from service.http.responses import ClientDisconnected, answer, headers
from service.http.services import LOG
from service.http.shutdown import SHUTDOWN
from service.http.stream_sender import STREAM_HEADERS, StreamSender
from service.wire.audit import AuditQuery, parse_audit_query, render_audit_event, render_audit_page, render_events_lost

log = structlog.get_logger()

# Seconds between looks for new events of a stream.
LOOK_EVERY_S = 0.5
_WITH_CONTENT = ("full", "admin", "audit:content")


async def page(request: web.Request) -> web.StreamResponse:
    asked = _parse(request)
    wanted = _filter_of(request, asked)
    if asked.is_stream:
        return await _stream(request, asked, wanted)
    async with connection(request) as db:
        if asked.is_newest_first:
            found = await read_page_down(
                db, wanted, below=asked.after, limit=asked.limit, has_contents=asked.has_contents
            )
        else:
            found = await read_page(db, wanted, after=asked.after, limit=asked.limit, has_contents=asked.has_contents)
        epochs = await load_sizes(db)
    rendered = await render_all(found.events, render_audit_event)
    size = sum(sized.size for sized in epochs)
    lost = None if asked.is_newest_first else find_lost(epochs, asked.after)
    return answer(render_audit_page(rendered, more=found.more, size=size, epoch=epochs[-1].epoch.epoch, lost_from=lost))


def _parse(request: web.Request) -> AuditQuery:
    """Returns the query of the request. `Last-Event-ID` takes the place of `after`. Raises Rejection and ApiError."""
    query = dict(request.query)
    if last := request.headers.get("Last-Event-ID"):
        query["after"] = last
    types = (*request.query.getall("type", []), *request.query.getall("type[]", []))
    include = (*request.query.getall("include", []), *request.query.getall("include[]", []))
    asked = parse_audit_query(query, types, include)
    if asked.has_contents:
        require_content_scope(request)
    return asked


def require_content_scope(request: web.Request) -> None:
    """Raises ApiError unless the key may read the contents of events."""
    scope = request[KEY].scope
    if scope not in _WITH_CONTENT:
        message = f"The contents of events need the scope 'audit:content' or 'full', and the key has '{scope}'."
        raise ApiError(403, message)


def _filter_of(request: web.Request, asked: AuditQuery) -> AuditFilter:
    """Returns the filter of the query, within the project of the key. Raises ApiError for another project."""
    own = audited_project(request)
    if own is not None and asked.project_id not in (None, own):
        raise ApiError(403, f"The key reads the audit of its own project, {own}, only.", param="project_id")
    return AuditFilter(
        project_id=asked.project_id if own is None else own,
        actor=asked.actor,
        stream_id=asked.stream_id,
        request_id=asked.request_id,
        types=asked.types,
        since=asked.since,
        until=asked.until,
    )


async def _stream(request: web.Request, asked: AuditQuery, wanted: AuditFilter) -> web.StreamResponse:
    with reserve_stream(request), request.app[LOG].feed.watch(INSTALLATION_ID) as watcher:
        response = web.StreamResponse(headers={**headers(request[REQUEST_ID], 1), **STREAM_HEADERS})
        await response.prepare(request)
        with closing(StreamSender(request, response)) as sender:
            try:
                with request.app[SHUTDOWN].end_at_stop(watcher), end_with_access(request, watcher):
                    await _follow(request, sender, watcher, asked, wanted)
                request.app[SHUTDOWN].close_connection(response)
                await sender.end()
            except ClientDisconnected:
                sender.break_off()
    return response


async def _follow(
    request: web.Request, sender: StreamSender, watcher: Watcher, asked: AuditQuery, wanted: AuditFilter
) -> None:
    """Writes events until the watcher is ended or the database fails: clients then reconnect behind their last event.

    Raises ClientDisconnected.
    """
    await sender.send(RETRY)
    after = asked.after
    try:
        async with connection(request) as db:
            epochs = await load_sizes(db)
        lost = find_lost(epochs, after)
        if lost is not None:
            notice = render_events_lost(after=after, lost_from=lost, epoch=epochs[-1].epoch.epoch)
            await sender.send(b"event: audit.events_lost\ndata: %b\n\n" % orjson.dumps(notice))
        while True:
            async with connection(request) as db:
                found = await read_page(db, wanted, after=after, limit=asked.limit, has_contents=asked.has_contents)
            if found.events:
                after = found.events[-1].log_index
                await sender.send(await _frames(found))
            else:
                await sender.keep_alive()
            if not found.more:
                await _pause(watcher)
    except WatcherEnded as ended:
        log.info("audit_stream_ended", reason=str(ended))
    except DATABASE_ERRORS as error:
        log.warning("audit_stream_failed", error=type(error).__name__)


async def _frames(found: AuditPage) -> bytes:
    rendered = await render_all(found.events, render_audit_event)
    return b"".join(
        b"id: %d\nevent: audit.event\ndata: %b\n\n" % (event["index"], orjson.dumps(event)) for event in rendered
    )


async def _pause(watcher: Watcher) -> None:
    """Waits LOOK_EVERY_S seconds. Raises WatcherEnded if the stream must end."""
    try:
        async with asyncio.timeout(LOOK_EVERY_S):
            while True:
                await watcher.take()
    except TimeoutError:
        return
