"""GET /v1/organization/usage/completions and /v1/organization/costs, in the shapes of the original's.

A key sees the usage of its own project; a key with the scope `admin` that of all projects.
"""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import Any

from aiohttp import web

from projections import usage
from projections.usage import Group, UsageFilter, UsageSum
from service.http.context import KEY, connection, origin
from service.http.responses import answer
from service.http.services import LOG, PRICES
from service.usage.costs import line_costs
from service.wire.organization_usage import (
    LISTS,
    UsageQuery,
    moment,
    parse_cost_query,
    parse_usage_query,
    render_bucket_page,
    render_cost_result,
    render_usage_result,
)

_USAGE_GROUPS: tuple[Group, ...] = ("project_id", "api_key_id", "model")
_COST_GROUPS: tuple[Group, ...] = ("project_id", "api_key_id")


async def completions(request: web.Request) -> web.Response:
    asked = parse_usage_query(request.query, lists_of(request), request.app[LOG].clock.now())
    groups = [group for group in _USAGE_GROUPS if group in asked.groups]
    results: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
    for found in await _report(request, asked, groups):
        result = render_usage_result(
            asked,
            project_id=found.project_id,
            key_id=found.key_id,
            model=found.model,
            input_tokens=found.input_tokens,
            cached_tokens=found.cached_tokens,
            output_tokens=found.output_tokens,
            calls=found.calls,
        )
        results[found.start].append(result)
    return answer(render_bucket_page(asked, results))


async def costs(request: web.Request) -> web.Response:
    """Models without a price in EVERTHREAD_MODELS cost nothing."""
    asked = parse_cost_query(request.query, lists_of(request), request.app[LOG].clock.now())
    groups = [group for group in _COST_GROUPS if group in asked.groups]
    found = await _report(request, asked, [*groups, "model"])
    dollars: defaultdict[tuple[int, str | None, str | None, str | None], Decimal] = defaultdict(Decimal)
    for line in line_costs(found, request.app[PRICES]):
        if asked.line_items is None or line.line_item in asked.line_items:
            item = line.line_item if "line_item" in asked.groups else None
            dollars[line.usage.start, item, line.usage.project_id, line.usage.key_id] += line.dollars
    results: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
    for (start, item, project_id, key_id), amount in dollars.items():
        result = render_cost_result(dollars=float(amount), line_item=item, project_id=project_id, key_id=key_id)
        results[start].append(result)
    return answer(render_bucket_page(asked, results))


async def _report(request: web.Request, asked: UsageQuery, groups: list[Group]) -> list[UsageSum]:
    if asked.is_empty:
        return []
    projects = projects_of(request, asked)
    only = UsageFilter(
        since=moment(asked.start), until=moment(asked.page_end), projects=projects, keys=asked.keys, models=asked.models
    )
    async with connection(request) as db:
        return await usage.report(db, only, step_s=asked.width_s, groups=groups)


def projects_of(request: web.Request, asked: UsageQuery) -> tuple[str, ...] | None:
    """Returns the projects that the key may see and that the request asks for; None for all projects."""
    if request[KEY].scope == "admin":
        return asked.projects
    own = origin(request).project_id
    return (own,) if asked.projects is None or own in asked.projects else ()


def lists_of(request: web.Request) -> dict[str, list[str]]:
    """Returns the values of the repeatable parameters, by name."""
    return {name: [*request.query.getall(name, []), *request.query.getall(f"{name}[]", [])] for name in LISTS}
