"""/v1/organization/projects and their API keys, for keys with the scope `admin`."""

from __future__ import annotations

from aiohttp import web

from events.objects import Json
from projections.keys import ListedKey
from projections.projects import Project
from service.http.bodies import parse_request
from service.http.context import id_source, origin
from service.http.responses import NO_STORE, answer
from service.http.services import ORGANIZATION
from service.organization.organization import KeyLimits
from service.wire import organization_projects as wire


async def page(request: web.Request) -> web.Response:
    asked = wire.parse_organization_page(request.query)
    found = await request.app[ORGANIZATION].list_projects(after=asked.after, limit=asked.limit)
    return answer(wire.render_organization_page([_render(project) for project in found.items], more=found.more))


async def create(request: web.Request) -> web.Response:
    name = await parse_request(request, wire.parse_project)
    return answer(
        _render(await request.app[ORGANIZATION].create_project(origin(request), name, ids=id_source(request)))
    )


async def get(request: web.Request) -> web.Response:
    return answer(_render(await request.app[ORGANIZATION].get_project(_project_id(request))))


async def modify(request: web.Request) -> web.Response:
    name = await parse_request(request, wire.parse_project)
    found = await request.app[ORGANIZATION].rename_project(origin(request), _project_id(request), name)
    return answer(_render(found))


async def key_page(request: web.Request) -> web.Response:
    """Lists the keys of a project; revoked ones too with `include_revoked=true`."""
    asked = wire.parse_organization_page(request.query)
    has_revoked = wire.parse_flag(request.query, "include_revoked")
    found = await request.app[ORGANIZATION].list_keys(
        _project_id(request), after=asked.after, limit=asked.limit, has_revoked=has_revoked
    )
    return answer(wire.render_organization_page([_render_key(key) for key in found.items], more=found.more))


async def create_key(request: web.Request) -> web.Response:
    asked = await parse_request(request, wire.parse_new_key)
    limits = KeyLimits(
        requests_per_minute=asked.requests_per_minute,
        tokens_per_minute=asked.tokens_per_minute,
        max_runs=asked.max_runs,
    )
    made = await request.app[ORGANIZATION].create_key(
        origin(request), _project_id(request), asked.name, asked.scope, limits, ids=id_source(request)
    )
    return answer(wire.render_new_key(_render_key(made.key), made.secret), cache_control=NO_STORE)


async def get_key(request: web.Request) -> web.Response:
    return answer(_render_key(await request.app[ORGANIZATION].get_key(_project_id(request), _key_id(request))))


async def modify_key(request: web.Request) -> web.Response:
    changes = await parse_request(request, wire.parse_key_changes)
    found = await request.app[ORGANIZATION].modify_key(origin(request), _project_id(request), _key_id(request), changes)
    return answer(_render_key(found))


async def revoke_key(request: web.Request) -> web.Response:
    await request.app[ORGANIZATION].revoke_key(origin(request), _project_id(request), _key_id(request))
    return answer(wire.render_deleted_key(_key_id(request)))


def _project_id(request: web.Request) -> str:
    return request.match_info["project_id"]


def _key_id(request: web.Request) -> str:
    return request.match_info["key_id"]


def _render(project: Project) -> Json:
    return wire.render_project(project.id, project.name, project.created_at)


def _render_key(key: ListedKey) -> Json:
    return wire.render_key(
        key.id,
        name=key.name,
        scope=key.scope,
        ending=key.ending,
        limits={
            "requests_per_minute": key.requests_per_minute,
            "tokens_per_minute": key.tokens_per_minute,
            "max_runs": key.max_runs,
        },
        created_at=key.created_at,
        last_used_at=key.last_used_at,
        revoked_at=key.revoked_at,
    )
