"""The points at which a thread can be forked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from events import event_log
from events.envelope import RecordedEvent
from events.event_log import NO_END
from events.thread import events as e
from projections import messages, runs
from service.database import Pool
from service.wire.as_of import AsOf, StreamVersion
from service.wire.forks import AfterMessage, AfterRun
from sql import queries

_SQL = queries("forks")
_ENDS = ("run.completed", "run.incomplete", "run.failed", "run.cancelled", "run.expired")


@dataclass(frozen=True, slots=True)
class BeforeRun:
    """The point at which a run began: with all that the run could read, and without the run."""

    run_id: str


# None is the present.
ForkAt = AsOf | AfterMessage | AfterRun | BeforeRun | None


@dataclass(frozen=True, slots=True)
class ForkPoint:
    """The objects of a thread at a point; if `before` is given, those that stand in prompts before this position.

    A run that waited for its turn was created before the runs ahead of it had answered, and reads their answers.
    """

    at: AsOf
    before: int | None = None

    def includes(self, place: int) -> bool:
        """Whether an object at this place belongs to the fork."""
        return self.before is None or place < self.before


async def find_point(pool: Pool, project_id: str, thread_id: str, at: ForkAt, newest: int) -> ForkPoint:
    """Returns the point of a thread whose newest version is `newest`.

    Raises NotFound if the thread never had the message or run.
    """
    match at:
        case None:
            return ForkPoint(StreamVersion(newest))
        case AfterMessage(message_id=message_id):
            async with pool.acquire() as db:
                position = await messages.position_of(db, project_id, thread_id, message_id)
            return ForkPoint(StreamVersion(position))
        case AfterRun(run_id=run_id):
            position, found = await _read_run(pool, project_id, thread_id, run_id, _ENDS)
            if isinstance(found[0].event, e.RunImported):
                return ForkPoint(StreamVersion(await _last_import(pool, thread_id)), before=position + 1)
            return ForkPoint(StreamVersion(found[-1].version if len(found) > 1 else newest))
        case BeforeRun(run_id=run_id):
            position, found = await _read_run(pool, project_id, thread_id, run_id, ("run.admitted",))
            if isinstance(found[0].event, e.RunImported):
                return ForkPoint(StreamVersion(await _last_import(pool, thread_id)), before=position)
            return ForkPoint(StreamVersion(found[-1].version - 1), before=position)
        case _:
            return ForkPoint(at)


async def _read_run(
    pool: Pool, project_id: str, thread_id: str, run_id: str, types: Sequence[str]
) -> tuple[int, list[RecordedEvent[e.ThreadEvent]]]:
    """Returns the position of a run, and its first event with those of `types`. Raises NotFound."""
    async with pool.acquire() as db:
        position = await runs.position_of(db, project_id, thread_id, run_id)
    found: list[RecordedEvent[e.ThreadEvent]] = []
    more, after = True, position - 1
    while more:
        async with pool.acquire() as db:
            page = await event_log.read_types(
                db, thread_id, ("run.created", "run.imported", *types), after=after, until=NO_END
            )
        found += [one for one in page.recorded if getattr(one.event, "run_id", None) == run_id]  # type: ignore[misc]
        more = page.more
        after = page.recorded[-1].version if page.recorded else NO_END
    return position, found


async def _last_import(pool: Pool, thread_id: str) -> int:
    version: int = await pool.fetchval(_SQL["last_import"], thread_id)
    return version
