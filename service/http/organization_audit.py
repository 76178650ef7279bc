"""GET /v1/organization/audit_logs: the acts of administration in the shape of the original's."""

from __future__ import annotations

from aiohttp import web

from service.audit.audit_feed import read_newest
from service.http.context import audited_project, connection
from service.http.responses import answer
from service.wire.organization_audit import parse_audit_log_query, render_audit_log, render_audit_log_page

_LISTS = ("project_ids", "event_types", "actor_ids", "actor_emails", "resource_ids")


async def page(request: web.Request) -> web.Response:
    """Lists entries of the key's project; a key of the project `installation` reads those of all projects."""
    query = request.query
    lists = {name: (*query.getall(name, []), *query.getall(f"{name}[]", [])) for name in _LISTS}
    lists["actor_ids"] += lists.pop("actor_emails")
    asked = parse_audit_log_query(query, lists)
    own = audited_project(request)
    projects = asked.projects if own is None else (own,)
    if asked.projects is not None and projects is not None:
        projects = tuple(project for project in projects if project in asked.projects)
    async with connection(request) as db:
        found = await read_newest(
            db,
            types=asked.types,
            projects=projects,
            actors=asked.actors,
            stream_ids=asked.resources,
            newer_than=asked.newer_than,
            older_than=asked.older_than,
            since=asked.since,
            until=asked.until,
            limit=asked.limit,
        )
    return answer(render_audit_log_page([render_audit_log(event) for event in found.events], more=found.more))
