"""Appends to threads, made by hand so that a test chooses their times, and the check of the whole log."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from functools import reduce
from typing import Any

from events.envelope import RecordedEvent
from events.event_log import NO_STREAM, Head, number_events
from events.streams import THREAD
from events.thread.commands import ThreadCommand
from events.thread.state import ThreadState
from projections.append import Append, append
from sql.connection import Connection
from tests.clock import IDS
from tests.events.thread.story import CREATE, add
from tests.projections.helpers import ORIGIN


@dataclass
class GrowingThread:
    """A thread that gets messages."""

    thread_id: str
    head: Head = NO_STREAM
    state: ThreadState = field(init=False)

    def __post_init__(self) -> None:
        self.state = THREAD.initial(self.thread_id)

    async def grow(self, db: Connection, at: datetime, *, messages: int = 1) -> None:
        """Appends messages at once, the first time also the thread's creation."""
        state, recorded = self.state, list[RecordedEvent[Any]]()
        commands: list[ThreadCommand] = [] if self.head.version else [CREATE]
        first = self.head.version + len(commands)
        for number in range(messages):
            commands.append(add("Hi", f"msg_{self.thread_id}_{first + number}"))
        for command in commands:
            events = THREAD.decide(state, command, at)
            new = number_events(self.thread_id, self.head.version + len(recorded), events, at, ORIGIN)
            state, recorded = reduce(THREAD.evolve, new, state), [*recorded, *new]
        change = Append(
            stream_type=THREAD,
            stream_id=self.thread_id,
            expected=self.head,
            recorded=recorded,
            before=self.state,
            after=state,
        )
        self.head = await append(db, change, ids=IDS)
        self.state = state


async def check_log(db: Connection) -> int:
    """Returns the size of the log. Asserts that it is gapless, has each event once, and each stream in order."""
    events = await db.fetch("SELECT stream_id, version, type, leaf FROM events")
    ranges = await db.fetch("SELECT * FROM log_ranges ORDER BY first_index")
    end, found, versions = 0, {}, dict[str, int]()
    for row in ranges:
        assert row["first_index"] == end
        assert row["first_version"] == versions.get(row["stream_id"], 0) + 1
        assert len(row["leaves"]) == 32 * row["count"]
        end += row["count"]
        versions[row["stream_id"]] = row["first_version"] + row["count"] - 1
        for place, type in enumerate(row["types"]):
            leaf = row["leaves"][32 * place : 32 * place + 32]
            found[row["stream_id"], row["first_version"] + place] = (type, leaf)
    assert found == {(event["stream_id"], event["version"]): (event["type"], event["leaf"]) for event in events}
    assert end == len(events)
    return end
