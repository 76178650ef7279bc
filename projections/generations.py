"""New shapes of views, each in tables of its own beside those of the older shape, until it takes their place.

A migration creates the tables and begins the generation under the next epoch (docs/operations.md, "Upgrade without
downtime"). From then on, appends write both shapes in one statement; software of an older epoch cannot append. A fill
(`service/replay/generation_fill.py`) makes the rows of all streams, and then the generation is live: answers are read
from it. A later release drops the older tables.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from events.envelope import RecordedEvent
from events.streams import StreamType
from sql import queries
from sql.connection import Connection
from sql.row_operations import RowOperation

_SQL = queries("view_generations")
Project = Callable[[Sequence[RecordedEvent[Any]], Any], list[RowOperation]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """A shape of a view that is not the only one yet.

    `project` returns the operations on `tables`. Rows of streams that are not filled yet are missing, so their blocks
    of UPDATE have names that end with `_any`. `beside` names, for a block of the older shape, the blocks that an append
    with it needs, so that both are in the same statement.
    """

    view: str
    number: int
    stream_type: StreamType[Any, Any]
    project: Project
    tables: tuple[str, ...]
    beside: Mapping[str, tuple[str, ...]]


# The generations of this software. Their epochs are at most events.event_log.VIEW_EPOCH.
GENERATIONS: tuple[Generation, ...] = ()
# Those that were live when this process looked last. Both shapes are right then, so it may look late.
_live: set[tuple[str, int]] = set()


def generations_of(stream_type: StreamType[Any, Any]) -> list[Generation]:
    """Returns the generations of a stream type."""
    return [generation for generation in GENERATIONS if generation.stream_type is stream_type]


def is_live(view: str, number: int) -> bool:
    """Whether answers are read from this generation."""
    return (view, number) in _live


async def newest_epoch(db: Connection) -> int:
    """Returns the newest epoch that any software has begun."""
    epoch: int = await db.fetchval(_SQL["newest_epoch"])
    return epoch


async def load_states(db: Connection) -> list[Generation]:
    """Notes which generations are live. Returns those of this software that are being built."""
    states = {(row["view"], row["generation"]): row["state"] for row in await db.fetch(_SQL["states"])}
    _live.clear()
    _live.update(key for key, state in states.items() if state == "live")
    return [each for each in GENERATIONS if states.get((each.view, each.number)) == "building"]


async def make_live(db: Connection, generation: Generation) -> bool:
    """Makes a complete generation the one that answers are read from. Returns whether this process did it."""
    has_changed: bool = await db.fetchval(_SQL["make_live"], generation.view, generation.number)
    return has_changed


def live_tables(stream_type: StreamType[Any, Any]) -> Collection[str]:
    """Returns the tables of the live generations of a stream type."""
    return [
        table
        for generation in generations_of(stream_type)
        if is_live(generation.view, generation.number)
        for table in generation.tables
    ]
