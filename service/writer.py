"""The one way to change anything: load a stream's head, decide, append and project in one transaction, then tell.

Everybody who changes something comes through `Writer`: request handlers and executors alike. A conflict (another append
came first) is retried a bounded number of times on the new state.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Generic
from weakref import WeakValueDictionary

from events import event_log
from events.assistant import AssistantCommand, AssistantState
from events.clock import Clock
from events.envelope import EffectCounter, Origin, RecordedEvent
from events.errors import Conflict, FileNotFound, NotFound
from events.file import FileCommand, FileState
from events.streams import ASSISTANT, FILE, THREAD, UPLOAD, VECTOR_STORE, C, S, StreamType
from events.thread.commands import ThreadCommand
from events.thread.state import ThreadState
from events.upload import UploadCommand, UploadState
from events.vector_store.commands import VectorStoreCommand
from events.vector_store.state import VectorStoreState
from projections.rebuild import as_of
from projections.views import VIEWS
from service.database import Pool
from service.feed import Feed
from service.idempotency.effects import find_effect, record_effect
from sql.connection import Connection

MAX_ATTEMPTS = 20
TURN_TIMEOUT = 5.0

Ask = Callable[[Connection], Awaitable[C]]
# What must hold in the append's own transaction, where it concerns more than the stream. Raises what refuses it.
Guard = Callable[[Connection], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Written(Generic[S]):
    """What an append brought: its events (none where there was nothing to do) and the state behind them.

    `repeated`: they were appended by an earlier try of the same request, and everybody was told then.
    """

    recorded: list[RecordedEvent[Any]]
    state: S
    version: int
    repeated: bool = False


class Writer:
    """What is built over a writer shares its pool, its feed and its clock."""

    def __init__(self, pool: Pool, feed: Feed, *, clock: Clock) -> None:
        self.pool = pool
        self.feed = feed
        self.clock = clock
        # A process takes turns on a stream with itself; conflicts are left to others. No lock outlives its use.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def thread(
        self, origin: Origin, thread_id: str, command: ThreadCommand | Ask[ThreadCommand]
    ) -> Written[ThreadState]:
        """Carries out a command on a thread; see `write`. Tells the feed what was appended."""
        written = await self.write(THREAD, origin, thread_id, command)
        if written.repeated:
            self.feed.wake_watchers(thread_id)
        elif written.recorded:
            self.feed.publish_thread(thread_id, written.recorded, written.state)
        return written

    async def assistant(
        self, origin: Origin, assistant_id: str, command: AssistantCommand | Ask[AssistantCommand]
    ) -> Written[AssistantState]:
        """Carries out a command on an assistant; see `write`."""
        return await self.write(ASSISTANT, origin, assistant_id, command)

    async def file(self, origin: Origin, file_id: str, command: FileCommand) -> Written[FileState]:
        """Carries out a command on a file; see `write`."""
        return await self.write(FILE, origin, file_id, command)

    async def upload(
        self, origin: Origin, upload_id: str, command: UploadCommand | Ask[UploadCommand]
    ) -> Written[UploadState]:
        """Carries out a command on an upload; see `write`."""
        return await self.write(UPLOAD, origin, upload_id, command)

    async def vector_store(
        self, origin: Origin, store_id: str, command: VectorStoreCommand | Ask[VectorStoreCommand]
    ) -> Written[VectorStoreState]:
        """Carries out a command on a vector store; see `write`. Tells the feed what was appended."""
        written = await self.write(VECTOR_STORE, origin, store_id, command)
        if written.repeated:
            self.feed.wake_watchers(store_id)
        elif written.recorded:
            self.feed.publish_store(store_id, written.recorded)
        return written

    async def write(
        self,
        stream_type: StreamType[S, C],
        origin: Origin,
        stream_id: str,
        command: C | Ask[C],
        guard: Guard | None = None,
    ) -> Written[S]:
        """Decides `command` on the stream and appends what it brings, unless `guard` refuses it.

        `command` may be a function that makes it from facts it reads; it is asked anew on every attempt, so that the
        facts hold at the version decided on. Raises what `decide` raises, NotFound for another project's stream, and
        Conflict after MAX_ATTEMPTS.
        """
        place = origin.once.place(stream_id) if origin.once is not None else 0
        async with self._turn(stream_id) as db:
            for _ in range(MAX_ATTEMPTS):
                state, head = await self._load(db, stream_type, origin, stream_id)
                if origin.once is not None:
                    done = await find_effect(db, origin.once.seed, stream_id, place)
                    if done is not None:
                        return await _again(db, stream_id, done, command, state, head.version)
                asked = await command(db) if callable(command) else command
                now = self.clock.now()
                at = now if head.at is None else max(now, head.at)
                events = stream_type.decide(state, asked, at)
                if not events:
                    return Written([], state, head.version)
                recorded = event_log.number_events(stream_id, head.version, events, at, origin)
                for entry in recorded:
                    state = stream_type.evolve(state, entry)
                try:
                    await self._append(
                        db, stream_type, stream_id, head.version, recorded, state, origin.once, place, guard
                    )
                except event_log.VersionConflict:
                    continue
                return Written(recorded, state, recorded[-1].version)
        raise Conflict(stream_id)

    async def repeated(self, stream_type: StreamType[S, C], origin: Origin, stream_id: str) -> Written[S] | None:
        """What an earlier try of the request did to the stream; None where this one is the first to.

        For requests whose checks would refuse what is done already.
        """
        if origin.once is None:
            return None
        async with self.pool.acquire() as db:
            done = await find_effect(db, origin.once.seed, stream_id, origin.once.places.get(stream_id, 0))
            if done is None:
                return None
            state, head = await self._load(db, stream_type, origin, stream_id)
            self.feed.wake_watchers(stream_id)
            return Written(await _between(db, stream_id, *done), state, head.version, repeated=True)

    async def check(self, stream_type: StreamType[S, C], origin: Origin, stream_id: str, command: C) -> None:
        """Raises what `decide` says against the command as of now; a repeated request is not asked again.

        For acts that begin in another stream, so that nothing is left there of what is refused here.
        """
        if await self.repeated(stream_type, origin, stream_id) is None:
            async with self.pool.acquire() as db:
                state, _ = await self._load(db, stream_type, origin, stream_id)
            stream_type.decide(state, command, self.clock.now())

    async def foreseen(
        self, stream_type: StreamType[S, C], origin: Origin, stream_id: str, ask: Ask[C]
    ) -> Sequence[Any]:
        """The events that the command would bring now, its facts and the state read as of one moment.

        For requests with much to do before they append. Raises what `decide` raises.
        """
        async with self.pool.acquire() as db, db.transaction(isolation="repeatable_read", readonly=True):
            state, _ = await self._load(db, stream_type, origin, stream_id)
            return stream_type.decide(state, await ask(db), self.clock.now())

    async def load_upload(self, origin: Origin, upload_id: str) -> UploadState:
        """The upload's state as of now. Raises NotFound for another project's."""
        async with self.pool.acquire() as db:
            return (await self._load(db, UPLOAD, origin, upload_id))[0]

    @asynccontextmanager
    async def _turn(self, stream_id: str) -> AsyncIterator[Connection]:
        """This process's turn on a stream, and a connection for it. Raises TimeoutError after TURN_TIMEOUT for both.

        Those who wait give up each in their own time: a database that hangs makes nobody wait for another's patience.
        """
        async with asyncio.timeout(TURN_TIMEOUT) as patience:
            async with self._locks.setdefault(stream_id, asyncio.Lock()), self.pool.acquire() as db:
                patience.reschedule(None)
                yield db

    async def load_thread(self, thread_id: str) -> ThreadState:
        """The thread's state as of now, whatever its project: for supervisors and executors."""
        async with self.pool.acquire() as db:
            head = await event_log.head(db, thread_id, THREAD)
            return await _state(db, THREAD, thread_id, head)

    async def _load(
        self, db: Connection, stream_type: StreamType[S, C], origin: Origin, stream_id: str
    ) -> tuple[S, event_log.Head]:
        head = await event_log.head(db, stream_id, stream_type)
        if head.project_id is not None and head.project_id != origin.project_id:
            raise FileNotFound(stream_id) if stream_type is FILE else NotFound(stream_type.noun, stream_id)
        return await _state(db, stream_type, stream_id, head), head

    async def _append(
        self,
        db: Connection,
        stream_type: StreamType[S, C],
        stream_id: str,
        expected: int,
        recorded: Sequence[RecordedEvent[Any]],
        state: S,
        under: EffectCounter | None,
        place: int,
        guard: Guard | None,
    ) -> None:
        async with db.transaction():
            if guard is not None:
                await guard(db)
            folded = stream_type.adapter.dump_json(state)
            await event_log.append(db, stream_id, stream_type, expected, recorded, folded)
            for project in VIEWS[stream_type]:
                await project(db, recorded)
            if under is not None and not await record_effect(db, under.seed, place, recorded):
                raise event_log.VersionConflict(stream_id)


async def _again(
    db: Connection, stream_id: str, done: tuple[int, int], command: C | Ask[C], state: S, version: int
) -> Written[S]:
    """What an earlier try of the request appended; whoever reads facts with the command finds them as they were."""
    if callable(command):
        async with as_of(db, stream_id, done[0] - 1):
            await command(db)
    return Written(await _between(db, stream_id, *done), state, version, repeated=True)


async def _between(db: Connection, stream_id: str, first: int, last: int) -> list[RecordedEvent[Any]]:
    """The stream's events from the first version to the last."""
    recorded: list[RecordedEvent[Any]] = []
    while len(recorded) <= last - first:
        left = min(event_log.READ_PAGE, last - first + 1 - len(recorded))
        recorded += await event_log.read(db, stream_id, after=first - 1 + len(recorded), limit=left)
    return recorded


async def _state(db: Connection, stream_type: StreamType[S, C], stream_id: str, head: event_log.Head) -> S:
    """The folded state: from the head where its schema is today's, else folded again from the events.

    Raises RuntimeError for a state that newer software wrote: this process must leave such streams alone.
    """
    if head.version == 0:
        return stream_type.initial(stream_id)
    if head.state_schema > stream_type.state_schema:
        raise RuntimeError(f"{stream_id} was written by newer software (state schema {head.state_schema})")
    if head.state_schema == stream_type.state_schema:
        return stream_type.adapter.validate_json(head.state)
    return await fold(db, stream_type, stream_id)


async def fold(db: Connection, stream_type: StreamType[S, C], stream_id: str) -> S:
    """The state of a stream from its events, all of them, page by page."""
    state, version = stream_type.initial(stream_id), 0
    while page := await event_log.read(db, stream_id, after=version):
        for recorded in page:
            state = stream_type.evolve(state, recorded)
        version = page[-1].version
    return state
