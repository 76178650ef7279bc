"""/webhook_endpoints"""

from __future__ import annotations

from aiohttp import web

from events.objects import Json
from projections.webhooks import EndpointReport
from service.http.bodies import parse_request
from service.http.context import id_source, origin, wire
from service.http.responses import NO_STORE, answer
from service.http.services import WEBHOOKS
from service.wire import webhooks


async def create(request: web.Request) -> web.Response:
    asked = await parse_request(request, webhooks.parse_new_endpoint)
    made = await request.app[WEBHOOKS].create(
        origin(request),
        asked.url,
        ids=id_source(request),
        events=list(asked.events) if asked.events else None,
        description=asked.description,
    )
    return answer(webhooks.render_new_endpoint(_render(made.report), made.secret), cache_control=NO_STORE)


async def get(request: web.Request) -> web.Response:
    return answer(_render(await request.app[WEBHOOKS].get(origin(request), _id(request))))


async def modify(request: web.Request) -> web.Response:
    changes = await parse_request(request, webhooks.parse_endpoint_changes)
    return answer(_render(await request.app[WEBHOOKS].modify(origin(request), _id(request), changes)))


async def rotate_secret(request: web.Request) -> web.Response:
    seconds = await parse_request(request, webhooks.parse_rotation_seconds)
    found = await request.app[WEBHOOKS].rotate(origin(request), _id(request), seconds)
    return answer(webhooks.render_new_secret(_id(request), found.secret, found.previous_until), cache_control=NO_STORE)


async def delete(request: web.Request) -> web.Response:
    await request.app[WEBHOOKS].delete(origin(request), _id(request))
    return answer(webhooks.render_deleted_endpoint(_id(request)))


async def page(request: web.Request) -> web.Response:
    """Lists all endpoints without pages, since a project has few."""
    found = await request.app[WEBHOOKS].list_all(origin(request))
    return answer(wire(request).render_list([_render(one) for one in found], more=False))


async def deliveries(request: web.Request) -> web.Response:
    """Lists messages that wait. Messages that were accepted or given up are not kept."""
    limit = webhooks.parse_delivery_limit(request.query)
    found = await request.app[WEBHOOKS].deliveries(origin(request), _id(request), limit + 1)
    rendered = [
        webhooks.render_delivery(
            thread_id=each.stream_id, version=each.version, type=each.type, attempts=each.attempts, due_at=each.due_at
        )
        for each in found[:limit]
    ]
    return answer(webhooks.render_deliveries(rendered, more=len(found) > limit))


async def retry(request: web.Request) -> web.Response:
    count = await request.app[WEBHOOKS].retry(origin(request), _id(request))
    return answer(webhooks.render_retry(_id(request), count))


async def send_test(request: web.Request) -> web.Response:
    """Answers when the receiver has, or has not in time."""
    outcome = await request.app[WEBHOOKS].test(origin(request), _id(request), ids=id_source(request))
    return answer(
        webhooks.render_test(_id(request), status=outcome.status, error=outcome.error, seconds=outcome.seconds)
    )


def _id(request: web.Request) -> str:
    return request.match_info["webhook_endpoint_id"]


def _render(standing: EndpointReport) -> Json:
    return webhooks.render_endpoint(
        standing.endpoint,
        delivered_at=standing.delivered_at,
        failing_since=standing.failing_since,
        last_error=standing.last_error,
    )
