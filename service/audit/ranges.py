"""The order of the log: which indexes the leaves of appends get. Pure; `sequencer` reads and writes the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

LEAF_BYTES = 32


class AppendKey(NamedTuple):
    """The key of a row of log_pending. The rows are in the order of their keys."""

    at: datetime
    stream_id: str
    first_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingAppend:
    """A row of log_pending: the events that one append added, versions first_version, first_version + 1, ….

    `leaves` are their leaves, LEAF_BYTES each, and `types` their types.
    """

    at: datetime
    stream_id: str
    first_version: int
    project_id: str
    actor: str
    request_id: str | None
    types: Sequence[str]
    leaves: bytes

    @property
    def key(self) -> AppendKey:
        return AppendKey(self.at, self.stream_id, self.first_version)

    @property
    def count(self) -> int:
        """The number of events."""
        return len(self.leaves) // LEAF_BYTES

    @property
    def last_version(self) -> int:
        return self.first_version + self.count - 1

    @property
    def is_whole(self) -> bool:
        """Whether the row has a leaf for each event. Only a change of the row by hand makes it otherwise."""
        return len(self.leaves) == LEAF_BYTES * len(self.types) > 0


@dataclass(frozen=True, slots=True)
class LogRange:
    """An append in the log: its events have the indexes first_index, first_index + 1, …."""

    first_index: int
    append: PendingAppend


@dataclass(frozen=True, slots=True)
class LogOrder:
    """The order of a batch of appends.

    `ranges` are the next ranges of the log. `sealed` are appends that the log has already. `held` are appends that must
    wait, because the log lacks earlier events of their streams or because they are not whole.
    """

    ranges: list[LogRange]
    sealed: list[PendingAppend]
    held: list[PendingAppend]


def order_appends(end: int, versions: Mapping[str, int], batch: Sequence[PendingAppend]) -> LogOrder:
    """Returns the order of the appends of a batch, from the index `end` on.

    `versions` holds the last version in the log of each stream that has events there. The appends keep their order, but
    an append whose predecessor comes later in the batch follows it: the versions of a stream are always in order, also
    if the clocks of the writers were not.
    """
    order = LogOrder([], [], [])
    last = dict(versions)
    waiting: dict[tuple[str, int], PendingAppend] = {}
    for append in batch:
        if not append.is_whole:
            order.held.append(append)
            continue
        following: PendingAppend | None = append
        while following is not None:
            version = last.get(following.stream_id, 0)
            if following.last_version <= version:
                order.sealed.append(following)
            elif following.first_version == version + 1:
                order.ranges.append(LogRange(end, following))
                end += following.count
                last[following.stream_id] = following.last_version
            else:
                order.held.extend(_put_aside(waiting, following))
                break
            following = waiting.pop((following.stream_id, following.last_version + 1), None)
    order.held.extend(waiting.values())
    return order


def _put_aside(waiting: dict[tuple[str, int], PendingAppend], append: PendingAppend) -> list[PendingAppend]:
    """Adds the append to those that wait for their predecessor. Returns it if another one has its place."""
    key = (append.stream_id, append.first_version)
    if key in waiting:
        return [append]
    waiting[key] = append
    return []
