"""Policies of retention and legal holds, for keys with the scope `admin`."""

from __future__ import annotations

from aiohttp import web

from events.objects import Json
from projections.retention import Hold, Policy
from service.http.bodies import parse_request
from service.http.context import id_source, origin
from service.http.responses import answer
from service.http.services import ORGANIZATION, RETENTION
from service.retention.operations import HoldRequest
from service.wire import organization_retention as wire
from service.wire.organization_projects import parse_flag, render_organization_page


async def get_policy(request: web.Request) -> web.Response:
    return answer(_render(await request.app[RETENTION].get_policy(await _project_id(request))))


async def set_policy(request: web.Request) -> web.Response:
    project_id = await _project_id(request)
    rules = await parse_request(request, wire.parse_policy)
    before = await request.app[RETENTION].get_policy(project_id)
    policy = Policy(
        project_id,
        rules.get("delete_idle_threads_after_days", before.idle_days),
        rules.get("keep_threads_for_days", before.keep_days),
    )
    await request.app[RETENTION].set_policy(origin(request), policy)
    return answer(_render(policy))


async def hold_page(request: web.Request) -> web.Response:
    """Lists holds; ended ones too with `include_ended=true`."""
    asked = wire.parse_hold_page(request.query)
    found = await request.app[RETENTION].list_holds(
        after=asked.page.after,
        limit=asked.page.limit,
        project_id=asked.project_id,
        has_ended=parse_flag(request.query, "include_ended"),
    )
    return answer(render_organization_page([_render_hold(hold) for hold in found.items], more=found.more))


async def place_hold(request: web.Request) -> web.Response:
    body = await parse_request(request, wire.parse_hold)
    await request.app[ORGANIZATION].get_project(body.project_id)
    asked = HoldRequest(
        project_id=body.project_id, reason=body.reason, thread_id=body.thread_id, metadata=body.metadata
    )
    return answer(_render_hold(await request.app[RETENTION].place_hold(origin(request), asked, ids=id_source(request))))


async def get_hold(request: web.Request) -> web.Response:
    return answer(_render_hold(await request.app[RETENTION].get_hold(request.match_info["hold_id"])))


async def end_hold(request: web.Request) -> web.Response:
    return answer(_render_hold(await request.app[RETENTION].end_hold(origin(request), request.match_info["hold_id"])))


async def _project_id(request: web.Request) -> str:
    """Returns the project of the path. Raises NotFound if there is none."""
    return (await request.app[ORGANIZATION].get_project(request.match_info["project_id"])).id


def _render(policy: Policy) -> Json:
    return wire.render_policy(policy.project_id, policy.idle_days, policy.keep_days)


def _render_hold(hold: Hold) -> Json:
    return wire.render_hold(
        hold.id,
        project_id=hold.project_id,
        thread_id=hold.thread_id,
        metadata=None if hold.metadata is None else dict(hold.metadata),
        reason=hold.reason,
        placed_at=hold.placed_at,
        ended_at=hold.ended_at,
    )
