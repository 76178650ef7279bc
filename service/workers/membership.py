"""A server process as a member of the workers of one `everthread serve`, or as the only process of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from service.fair_places import FairPlaces
from service.workers.channel import BEAT_EVERY_S, Channel, Message
from service.workers.counts import Counts
from service.workers.shared_buckets import SharedBuckets
from service.workers.shared_memory import SharedMemory, SharedPlaces
from service.workers.shared_sessions import SharedSessions

# Beats between two that carry the counters.
BEATS_PER_COUNTS = 4
# Seconds for which a request for the counts of all workers waits. The parent answers before.
COLLECT_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The numbers of one process: `counters`, which stay when it ends, and `gauges`, which do not."""

    counters: Counts
    gauges: Counts


@dataclass(frozen=True, slots=True)
class Collection:
    """The counters of all workers since the start of the server, and the gauges of each that answered."""

    counters: Counts
    gauges: Sequence[Counts]


class Membership:
    """A process among its fellow workers. Without a `channel` it has none.

    `listeners` are the sockets at which it accepts connections, if it does not open them itself. `is_alone` if no other
    process was alive at its start, `pool_size` the connections of its pool at most, None for the default. All workers
    share the `memory`. The server sets `take_snapshot`. `retirement` is set if the process must hand its work to its
    successor, within `patience_s`.
    """

    def __init__(
        self,
        channel: Channel | None = None,
        *,
        listeners: Sequence[socket.socket] = (),
        is_alone: bool = False,
        pool_size: int | None = None,
        memory: SharedMemory | None = None,
    ) -> None:
        self.buckets = None if memory is None else SharedBuckets(memory)
        self.sessions = None if memory is None else SharedSessions(memory)
        self._memory = memory
        self.listeners = listeners
        self.is_alone = is_alone
        self.pool_size = pool_size
        self.retirement = asyncio.Event()
        self.patience_s = 0.0
        self.workers: Sequence[Message] = ()
        self.take_snapshot: Callable[[], Snapshot] | None = None
        self._channel = channel
        self._answers: dict[int, asyncio.Future[Message]] = {}
        self._questions = 0

    async def run(self) -> None:
        """Sends beats and receives messages until cancelled. If the parent ends, this process stops in order."""
        if self._channel is None:
            return
        async with asyncio.TaskGroup() as tasks:
            beats = tasks.create_task(self._beat(self._channel))
            while (message := await self._channel.receive()) is not None:
                self._handle(self._channel, message)
            beats.cancel()
        os.kill(os.getpid(), signal.SIGTERM)

    def open_places(self, name: str, total: int, *, reserve: int = 0) -> FairPlaces:
        """Returns the places of this name, which all workers share."""
        shared = None if self._memory is None else SharedPlaces(self._memory, name, total)
        return FairPlaces(total, reserve=reserve, shared=shared)

    async def collect(self) -> Collection:
        """Returns the counts of all workers; without any, or if the parent does not answer, those of this process."""
        if self._channel is not None:
            self._questions += 1
            number = self._questions
            answer = self._answers[number] = asyncio.get_running_loop().create_future()
            self._channel.send("collect", id=number)
            try:
                async with asyncio.timeout(COLLECT_TIMEOUT_S):
                    message = await answer
                return Collection(message["counts"], message["gauges"])
            except TimeoutError:
                pass
            finally:
                self._answers.pop(number, None)
        own = self._snapshot()
        return Collection(own.counters, [own.gauges])

    def leave(self) -> None:
        """Sends the last counters, before the process ends."""
        if self._channel is not None:
            self._channel.send("beat", counts=self._snapshot().counters)

    async def _beat(self, channel: Channel) -> None:
        number = 0
        while True:
            counts = self._snapshot().counters if number % BEATS_PER_COUNTS == 0 else None
            channel.send("beat", counts=counts)
            number += 1
            await asyncio.sleep(BEAT_EVERY_S)

    def _handle(self, channel: Channel, message: Message) -> None:
        match message["kind"]:
            case "workers":
                self.workers = message["workers"]
            case "snapshot":
                own = self._snapshot()
                channel.send("answer", id=message["id"], counts=own.counters, gauges=own.gauges)
            case "answer":
                answer = self._answers.get(message["id"])
                if answer is not None and not answer.done():
                    answer.set_result(message)
            case "retire":
                self.patience_s = message["patience_s"]
                self.retirement.set()
            case _:
                pass

    def _snapshot(self) -> Snapshot:
        return Snapshot({}, {}) if self.take_snapshot is None else self.take_snapshot()
