"""Checks a batch of streams in one short snapshot, in which their events, heads, views and ranges belong together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from events.leaves import StoredEvent
from service.audit.faults import Fault
from service.audit.ranges import PendingAppend
from service.audit.stream_check import StreamCheck
from service.audit.view_check import compare_views, fold_deletions
from sql import queries
from sql.connection import Connection

# Events that are in memory at once.
PREFETCH = 1000
# Seconds that a statement of a verification may take: those that look for rows without a stream read whole tables.
STATEMENT_S = 3600.0

_SQL = queries("verify")


@dataclass(frozen=True, slots=True)
class BatchResult:
    """`events` were checked, of which `waiting` have no index in the log yet.

    `erased` are pairs of a stream and the id of a key that is missing.
    """

    events: int
    waiting: int
    faults: list[Fault]
    erased: list[tuple[str, str]] = field(default_factory=list)


async def check_batch(db: Connection, stream_ids: Sequence[str]) -> BatchResult:
    """Checks the streams."""
    ids = list(stream_ids)
    async with db.transaction(isolation="repeatable_read", readonly=True):
        heads = await db.fetch(_SQL["heads"], ids)
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
        checks = {head["stream_id"]: _open_check(head, sequenced, sealed) for head in heads}
        events = await db.cursor(_SQL["events"], ids)
        while rows := await events.fetch(PREFETCH):
            for event in map(StoredEvent._make, rows):
                check = checks.get(event.stream_id)
                if check is not None:
                    check.add(event)
        for check in checks.values():
            check.finish()
        # The views of a stream whose events were changed follow from nothing, and those of an erased one from nothing
        # but its deletion.
        sound = [check for check in checks.values() if not check.has_faults]
        lost = await fold_deletions(db, [check for check in sound if check.is_erased and check.is_deleted])
        compared = [check for check in sound if check.stream_id not in {fault.stream_id for fault in lost}]
        faults = lost + await compare_views(
            db, [check for check in compared if not check.is_erased or check.is_deleted]
        )
    faults = [*(fault for check in checks.values() for fault in check.faults), *faults]
    erased = [(id, key_id) for id, check in checks.items() for key_id in sorted(check.erased_keys)]
    return BatchResult(sum(check.events for check in checks.values()), waiting, faults, erased)


def _open_check(
    head: Mapping[str, Any], sequenced: Mapping[str, list[PendingAppend]], sealed: Mapping[str, list[PendingAppend]]
) -> StreamCheck:
    id = head["stream_id"]
    return StreamCheck(head, sequenced.get(id, ()), sealed.get(id, ()))
