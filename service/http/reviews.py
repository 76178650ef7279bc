"""/threads/{thread_id}/runs/{run_id}/reviews: ratings and notes, which are events of the thread."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from events import event_log
from events.actors import actor_text
from events.envelope import RecordedEvent
from events.errors import NotFound
from events.event_log import NO_END
from events.objects import Json
from events.thread.commands import ReviewRun
from events.thread.events import RunReviewed
from projections import runs, threads
from service.http.bodies import parse_request
from service.http.context import connection, origin, writer
from service.http.responses import answer
from service.wire.replay import parse_replay_query
from service.wire.reviews import parse_review, render_review, render_reviews
from sql.connection import Connection


async def create(request: web.Request) -> web.Response:
    asked = await parse_request(request, parse_review)
    run_id = request.match_info["run_id"]

    async def command(db: Connection) -> ReviewRun:
        try:
            run = await runs.get(db, origin(request).project_id, request.match_info["thread_id"], run_id)
        except NotFound:
            return ReviewRun(run_id, None, asked.rating, asked.note)
        return ReviewRun(run_id, run.status, asked.rating, asked.note)

    written = await writer(request).thread(origin(request), request.match_info["thread_id"], command)
    [review] = [recorded for recorded in written.recorded if isinstance(recorded.event, RunReviewed)]
    return answer(_render(review))


async def page(request: web.Request) -> web.Response:
    asked, info, project_id = parse_replay_query(request.query), request.match_info, origin(request).project_id
    found: list[RecordedEvent[Any]] = []
    async with connection(request) as db:
        await threads.get(db, project_id, info["thread_id"])
        after = max(asked.after, await runs.position_of(db, project_id, info["thread_id"], info["run_id"]))
        more = True
        while more and len(found) <= asked.limit:
            part = await event_log.read_types(db, info["thread_id"], ["run.reviewed"], after=after, until=NO_END)
            found += [each for each in part.recorded if getattr(each.event, "run_id", None) == info["run_id"]]
            more = part.more
            after = part.recorded[-1].version if part.recorded else after
    rendered = [_render(each) for each in found[: asked.limit]]
    return answer(render_reviews(rendered, more=more or len(found) > asked.limit))


def _render(recorded: RecordedEvent[Any]) -> Json:
    event: RunReviewed = recorded.event
    return render_review(
        recorded.stream_id,
        event.run_id,
        version=recorded.version,
        at=recorded.at,
        rating=event.rating,
        note=event.note,
        actor=actor_text(recorded.actor),
    )
