"""Where writers and watchers of a thread meet in this process: events as they are committed, and what is not an event yet.

`Live*` items come from an executor while a model call streams. They name objects by the ids that `ModelCallStarted`
minted, and never reach the log; the events that follow say the same, whole.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from events.event import Recorded
from events.thread_events import ThreadEvent

# Items a watcher may lag behind before it is cut off, so that a client that reads too slowly costs no memory.
MAX_BACKLOG = 100_000


@dataclass(frozen=True, slots=True)
class LiveText:
    """A piece of the text (or, with `refusal`, of the refusal) that the open model call writes into its message."""

    run_id: str
    message_id: str
    step_id: str
    created_at: int
    text: str
    refusal: bool = False


@dataclass(frozen=True, slots=True)
class LiveCall:
    """A piece of tool call number `index` of the open model call; `id` and `name` come with its first piece only."""

    run_id: str
    step_id: str
    created_at: int
    index: int
    id: str | None
    name: str | None
    arguments: str


Live = LiveText | LiveCall
Item = Recorded[ThreadEvent] | Live


@dataclass(slots=True, eq=False)
class Watcher:
    """One reader of a thread's feed. `items` ends with None where it lagged too far behind."""

    thread_id: str
    items: asyncio.Queue[Item | None] = field(default_factory=asyncio.Queue)

    def put(self, item: Item) -> None:
        backlog = self.items.qsize()
        if backlog < MAX_BACKLOG:
            self.items.put_nowait(item)
        elif backlog == MAX_BACKLOG:
            self.items.put_nowait(None)


class Feed:
    """Fans out to the watchers of each thread. Publishing never waits."""

    def __init__(self) -> None:
        self._watchers: dict[str, set[Watcher]] = defaultdict(set)

    def watch(self, thread_id: str) -> Watcher:
        """A watcher of everything published from now on. `leave` must follow."""
        watcher = Watcher(thread_id)
        self._watchers[thread_id].add(watcher)
        return watcher

    def leave(self, watcher: Watcher) -> None:
        watchers = self._watchers.get(watcher.thread_id)
        if watchers is not None:
            watchers.discard(watcher)
            if not watchers:
                del self._watchers[watcher.thread_id]

    def publish(self, thread_id: str, items: Sequence[Recorded[Any] | Live]) -> None:
        """Tells the thread's watchers of `items`, in order; events only after their commit."""
        for watcher in tuple(self._watchers.get(thread_id, ())):
            for item in items:
                watcher.put(item)

    def watched(self, thread_id: str) -> bool:
        """Whether anybody watches: where not, deltas need not be made."""
        return thread_id in self._watchers
