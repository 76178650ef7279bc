"""Checks a batch of streams in one short snapshot, in which their events, heads, views and ranges belong together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from service.audit.faults import Fault
from service.audit.ranges import PendingAppend
from service.audit.stream_check import StreamCheck
from service.audit.view_check import ViewCheck
from sql import queries
from sql.connection import Connection

# Events that are in memory at once, and operations on rows that wait to be carried out.
PREFETCH = 200
MAX_OPERATIONS = 5000

_SQL = queries("verify")


@dataclass(frozen=True, slots=True)
class BatchResult:
    """`events` were checked, of which `waiting` have no index in the log yet."""

    events: int
    waiting: int
    faults: list[Fault]


async def check_batch(db: Connection, views: ViewCheck, stream_ids: Sequence[str]) -> BatchResult:
    """Checks the streams. `views` are the temporary tables of this connection."""
    ids = list(stream_ids)
    async with db.transaction(isolation="repeatable_read", readonly=True):
        heads = {row["stream_id"]: row for row in await db.fetch(_SQL["heads"], ids)}
        sequenced: defaultdict[str, list[PendingAppend]] = defaultdict(list)
        sealed: defaultdict[str, list[PendingAppend]] = defaultdict(list)
        ends: defaultdict[str, int] = defaultdict(int)
        waiting = 0
        for row in await db.fetch(_SQL["ranges"], ids):
            append = PendingAppend(**row)
            sequenced[append.stream_id].append(append)
            ends[append.stream_id] = max(ends[append.stream_id], append.last_version)
        for row in await db.fetch(_SQL["pending"], ids):
            append = PendingAppend(**row)
            if append.first_version > ends[append.stream_id]:
                sequenced[append.stream_id].append(append)
                waiting += append.count
            else:
                sealed[append.stream_id].append(append)  # the sequencer has not deleted the row yet
        checks = {id: StreamCheck(head, sequenced[id], sealed[id]) for id, head in heads.items()}
        async for event in db.cursor(_SQL["events"], ids, prefetch=PREFETCH):
            check = checks.get(event["stream_id"])
            if check is not None:
                check.add(event)
                if views.is_possible and check.events % PREFETCH == 0:
                    await _carry_out(views, check)
        faults = await _finish(views, list(checks.values()), {id: heads[id]["kind"] for id in heads})
    return BatchResult(sum(check.events for check in checks.values()), waiting, faults)


async def _carry_out(views: ViewCheck, check: StreamCheck) -> None:
    views.add(check.stream_id, check.take_operations())
    if views.waiting >= MAX_OPERATIONS:
        await views.flush()


async def _finish(views: ViewCheck, checks: Sequence[StreamCheck], kinds: dict[str, str]) -> list[Fault]:
    streams: defaultdict[str, list[str]] = defaultdict(list)
    for check in checks:
        if views.is_possible:
            await _carry_out(views, check)
        check.finish()
        # The views of a stream whose events were changed follow from nothing.
        if not check.has_faults:
            streams[kinds[check.stream_id]].append(check.stream_id)
    faults = [fault for check in checks for fault in check.faults]
    if views.is_possible:
        await views.flush()
        faults += await views.compare(streams)
    return faults
