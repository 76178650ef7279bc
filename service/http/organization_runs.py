"""GET /v1/organization/usage/runs and …/failures: how many runs ended how, after how long, and why they failed.

A key sees the runs of its own project; a key with the scope `admin` those of all projects.
"""

from __future__ import annotations

from collections import defaultdict

from aiohttp import web

from events.objects import Json
from projections import run_outcomes
from projections.run_outcomes import OutcomeFilter, OutcomeGroup, OutcomeSum
from service.http.context import connection
from service.http.organization_usage import lists_of, projects_of
from service.http.responses import answer
from service.http.services import LOG
from service.wire.organization_runs import render_failure, render_failures, render_runs_page, render_runs_result
from service.wire.organization_usage import FAILURE_GROUPS, RUN_GROUPS, UsageQuery, moment, parse_usage_query

# Causes of failures in an answer.
MAX_FAILURES = 100
_GROUPS: tuple[OutcomeGroup, ...] = ("project_id", "api_key_id", "model", "assistant_id")


async def page(request: web.Request) -> web.Response:
    asked = parse_usage_query(request.query, lists_of(request), request.app[LOG].clock.now(), RUN_GROUPS)
    groups = [group for group in _GROUPS if group in asked.groups]
    only = _filter_of(request, asked, asked.page_end)
    async with connection(request) as db:
        found = await run_outcomes.report(db, only, step_s=asked.width_s, groups=groups)
        active = await run_outcomes.count_active(db, only.projects)
    results: defaultdict[int, list[Json]] = defaultdict(list)
    for each in found:
        results[each.start].append(_render(each))
    return answer(render_runs_page(asked, results, active))


async def failures(request: web.Request) -> web.Response:
    asked = parse_usage_query(request.query, lists_of(request), request.app[LOG].clock.now(), FAILURE_GROUPS)
    groups = [group for group in _GROUPS if group in asked.groups]
    async with connection(request) as db:
        only = _filter_of(request, asked, asked.end)
        found = await run_outcomes.failures(db, only, groups=groups, limit=MAX_FAILURES)
    rendered = [
        render_failure(
            status=each.status,
            cause=each.cause,
            runs=each.runs,
            model=each.model,
            assistant_id=each.assistant_id,
            thread_id=each.thread_id,
            run_id=each.run_id,
            ended_at=each.ended_at,
        )
        for each in found.groups
    ]
    return answer(render_failures(asked, found.counted_from, rendered))


def _filter_of(request: web.Request, asked: UsageQuery, end: int) -> OutcomeFilter:
    return OutcomeFilter(
        since=moment(asked.start),
        until=moment(end),
        projects=projects_of(request, asked),
        keys=asked.keys,
        models=asked.models,
        assistants=asked.assistants,
    )


def _render(found: OutcomeSum) -> Json:
    return render_runs_result(
        counts={
            "num_runs": found.runs,
            "completed": found.completed,
            "incomplete": found.incomplete,
            "failed": found.failed,
            "cancelled": found.cancelled,
            "expired": found.expired,
        },
        run_ms=found.run_ms,
        wait_ms=found.wait_ms,
        project_id=found.project_id,
        key_id=found.key_id,
        model=found.model,
        assistant_id=found.assistant_id,
    )
