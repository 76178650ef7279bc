"""POST /v1/threads/bulk_delete and /v1/threads/bulk_cancel: a bounded number of threads or runs for each request.

Each thread is deleted, and each run cancelled, by an append of its own, as by the operations for one. A request that
was broken off has changed some of them; the same request again goes on with the others.
"""

from __future__ import annotations

from datetime import UTC, datetime

from aiohttp import web

from events.errors import NotFound, Rejection
from events.thread.commands import CancelRun, DeleteThread
from projections import active_runs, metadata, runs, threads
from projections.metadata import Filter
from projections.rows import Cursor
from service.http.bodies import parse_request
from service.http.context import clock, connection, origin, writer
from service.http.responses import answer
from service.http.services import RUNS
from service.wire.bulk import (
    BulkDeletionRequest,
    parse_bulk_cancellation,
    parse_bulk_deletion,
    render_bulk_cancellation,
    render_bulk_deletion,
)
from sql.connection import Connection

_CANCELLABLE = ("queued", "in_progress", "requires_action")


async def delete_threads(request: web.Request) -> web.Response:
    """Deletes the oldest of the threads. Those that are created from this second on are left out."""
    asked = await parse_request(request, parse_bulk_deletion)
    wanted, before = _filter_of(asked, int(clock(request).now().timestamp()))
    project_id = origin(request).project_id
    async with connection(request) as db:
        matching = await metadata.count_threads(db, project_id, wanted)
        page = await threads.page(db, project_id, Cursor(asked.limit, "asc"), wanted)
    found = [thread.id for thread in page.items if wanted.pairs_in(thread.metadata)]
    if not asked.is_dry_run:
        found = [thread_id for thread_id in found if await _delete(request, thread_id)]
    return answer(
        render_bulk_deletion(
            found, is_dry_run=asked.is_dry_run, matching=matching, created_before=before, more=page.more
        )
    )


async def cancel_runs(request: web.Request) -> web.Response:
    asked = await parse_request(request, parse_bulk_cancellation)
    project_id, statuses, thread_ids = origin(request).project_id, asked.statuses or _CANCELLABLE, asked.thread_ids
    async with connection(request) as db:
        matching = await active_runs.count_of_project(db, project_id, statuses, thread_ids)
        found = await active_runs.find_of_project(db, project_id, statuses, thread_ids, limit=asked.limit)
    more = len(found) < matching
    if not asked.dry_run:
        found = [(thread_id, run_id) for thread_id, run_id in found if await _cancel(request, thread_id, run_id)]
    return answer(render_bulk_cancellation(found, is_dry_run=asked.dry_run, matching=matching, more=more))


def _filter_of(asked: BulkDeletionRequest, now: int) -> tuple[Filter, int]:
    """Returns the filter, and the time before which the threads were created."""
    before = now if asked.until is None else min(asked.until, now)
    since = None if asked.since is None else datetime.fromtimestamp(asked.since, UTC)
    return Filter(asked.metadata, since, datetime.fromtimestamp(before, UTC)), before


async def _delete(request: web.Request, thread_id: str) -> bool:
    """Returns False if another request has deleted the thread."""
    try:
        await writer(request).thread(origin(request), thread_id, DeleteThread())
    except NotFound:
        return False
    return True


async def _cancel(request: web.Request, thread_id: str, run_id: str) -> bool:
    """Returns False if the run has ended, or its thread was deleted."""
    with request.app[RUNS].claims.offer() as claim:

        async def command(db: Connection) -> CancelRun:
            run = await runs.get(db, origin(request).project_id, thread_id, run_id)
            return CancelRun(run_id, run.status, claim)

        try:
            await writer(request).thread(origin(request), thread_id, command)
        except (NotFound, Rejection):
            return False
    return True
