"""Changes streams: loads the head, decides a command on it, appends its events, publishes them. Nothing else appends.

Request handlers, executors, supervisors and the command line all use `Writer`. If another append to the stream comes
first, the command is decided again on the new state, a bounded number of times.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from typing import Any, Generic, TypeVar

from events import event_log
from events.assistant import AssistantCommand, AssistantState
from events.clock import Clock
from events.envelope import Origin, RecordedEvent
from events.errors import Conflict, FileNotFound, NotFound
from events.file import FileCommand, FileState
from events.ids import IdSource
from events.streams import ASSISTANT, FILE, THREAD, UPLOAD, VECTOR_STORE, C, S, StreamType
from events.thread.commands import ThreadCommand
from events.thread.state import ThreadState
from events.upload import UploadCommand, UploadState
from events.vector_store.commands import VectorStoreCommand
from events.vector_store.state import VectorStoreState
from projections.append import Append, Effect, Guard, VersionConflict, append
from projections.rebuild import as_of
from service.database import Pool
from service.feed import Feed
from service.idempotency.effects import find_effect
from service.tasks.off_loop import compute, is_large
from service.writer.head_cache import HeadCache
from service.writer.stream_state import load_state
from service.writer.stream_turns import StreamTurns
from sql.connection import Connection

MAX_ATTEMPTS = 20

F = TypeVar("F")
# Reads facts about other streams, or about objects of the stream, that a command needs.
FactReader = Callable[[Connection], Awaitable[F]]
# Makes a command from facts that it reads.
CommandFactory = Callable[[Connection], Awaitable[C]]


@dataclass(frozen=True, slots=True)
class AppendResult(Generic[S]):
    """The events of an append, none if there was nothing to do, and the state after it.

    `is_repeat` if an earlier try of the same request has appended them.
    """

    recorded: list[RecordedEvent[Any]]
    state: S
    version: int
    is_repeat: bool = False


@dataclass(frozen=True, slots=True)
class _Decision(Generic[F, C]):
    """A command and the facts that it was made from."""

    facts: F
    command: C


@dataclass(frozen=True, slots=True)
class GroupedCommand(Generic[C]):
    """A command of a group (`Writer.write_group`), with its own origin and its own effect."""

    origin: Origin
    command: C
    effect: Effect | None

    @classmethod
    def of(cls, origin: Origin, stream_id: str, command: C) -> GroupedCommand[C]:
        """Counts the append among those of the request."""
        return cls(origin, command, _next_effect(origin, stream_id))


class Writer:
    """The writer of a process. Objects that are built over a writer share its pool, its feed and its clock."""

    def __init__(self, pool: Pool, feed: Feed, *, clock: Clock, ids: IdSource) -> None:
        self.pool = pool
        self.feed = feed
        self.clock = clock
        self._ids = ids
        self._heads = HeadCache()
        self._turns = StreamTurns()

    async def thread(
        self, origin: Origin, thread_id: str, command: ThreadCommand | CommandFactory[ThreadCommand]
    ) -> AppendResult[ThreadState]:
        """Carries out a command on a thread and publishes its events; see `write`."""
        return self._publish_thread(thread_id, await self.write(THREAD, origin, thread_id, command))

    async def thread_on_facts(
        self, origin: Origin, thread_id: str, read: FactReader[F], command: Callable[[F], ThreadCommand]
    ) -> tuple[F, AppendResult[ThreadState]]:
        """Carries out a command on a thread and returns the facts that it was decided on as well.

        `read` is called again on every attempt. For a repeated request it reads the facts as they were before the first
        try changed the thread. Otherwise as `thread`.
        """

        async def decide_on(db: Connection) -> _Decision[F, ThreadCommand]:
            facts = await read(db)
            return _Decision(facts, command(facts))

        decision, result = await self._write(THREAD, origin, thread_id, decide_on, None)
        self._publish_thread(thread_id, result)
        if decision is not None:
            return decision.facts, result
        async with self.pool.acquire() as db, as_of(db, thread_id, result.recorded[0].version - 1):
            return await read(db), result

    async def assistant(
        self, origin: Origin, assistant_id: str, command: AssistantCommand | CommandFactory[AssistantCommand]
    ) -> AppendResult[AssistantState]:
        """Carries out a command on an assistant; see `write`."""
        return await self.write(ASSISTANT, origin, assistant_id, command)

    async def file(self, origin: Origin, file_id: str, command: FileCommand) -> AppendResult[FileState]:
        """Carries out a command on a file; see `write`."""
        return await self.write(FILE, origin, file_id, command)

    async def upload(
        self, origin: Origin, upload_id: str, command: UploadCommand | CommandFactory[UploadCommand]
    ) -> AppendResult[UploadState]:
        """Carries out a command on an upload; see `write`."""
        return await self.write(UPLOAD, origin, upload_id, command)

    async def vector_store(
        self, origin: Origin, store_id: str, command: VectorStoreCommand | CommandFactory[VectorStoreCommand]
    ) -> AppendResult[VectorStoreState]:
        """Carries out a command on a vector store and publishes its events; see `write`."""
        result = await self.write(VECTOR_STORE, origin, store_id, command)
        if result.is_repeat:
            self.feed.wake_watchers(store_id)
        elif result.recorded:
            self.feed.publish_store(store_id, result.recorded)
        return result

    async def write(
        self,
        stream_type: StreamType[S, C],
        origin: Origin,
        stream_id: str,
        command: C | CommandFactory[C],
        guard: Guard | None = None,
    ) -> AppendResult[S]:
        """Decides the command on the stream and appends its events.

        A factory is called again on every attempt, so that its facts hold at the version that the command is decided
        on. Raises the errors of `decide` and of `guard`, NotFound if the stream belongs to another project, Conflict
        after MAX_ATTEMPTS attempts, and TimeoutError if there is no turn within TURN_TIMEOUT seconds, or no connection
        (`TimedPool`).
        """

        async def decide_on(db: Connection) -> _Decision[None, C]:
            return _Decision(None, await command(db) if callable(command) else command)

        return (await self._write(stream_type, origin, stream_id, decide_on, guard))[1]

    async def write_group(
        self, stream_type: StreamType[S, C], stream_id: str, commands: Sequence[GroupedCommand[C]]
    ) -> S:
        """Carries out commands of different origins on a stream, in order, in one transaction: all of them or none.
        Returns the state after them.

        A command that an earlier try of its request has carried out is left out. The head is locked first, so the
        writers of other processes wait for each other instead of deciding again. The origins are all of the project of
        the stream. Raises as `write`. Watchers are not notified.
        """
        await self._turns.enter(stream_id)
        try:
            async with self.pool.acquire() as db:
                for _ in range(MAX_ATTEMPTS):
                    try:
                        async with db.transaction():
                            head, state = await self._append_group(db, stream_type, stream_id, commands)
                    except VersionConflict:  # another process has begun the stream, or has made one of the effects
                        continue
                    self._heads.put(stream_type, stream_id, head, state)
                    return state
        finally:
            self._turns.leave(stream_id)
        raise Conflict(stream_id)

    async def _append_group(
        self, db: Connection, stream_type: StreamType[S, C], stream_id: str, commands: Sequence[GroupedCommand[C]]
    ) -> tuple[event_log.Head, S]:
        await event_log.lock_head(db, stream_id)
        self._heads.take(stream_type, stream_id, commands[0].origin.project_id)
        state, head = await self._load(db, stream_type, commands[0].origin, stream_id)
        for grouped in commands:
            origin, effect = grouped.origin, grouped.effect
            if effect is not None and await find_effect(db, effect.seed, stream_id, effect.place) is not None:
                continue
            new = await self._decide(stream_type, origin, stream_id, state, head, grouped.command, effect)
            if new is not None:
                head, state = await self._append(db, new, None), new.after
        return head, state

    async def find_repeat(
        self, stream_type: StreamType[S, C], origin: Origin, stream_id: str
    ) -> AppendResult[S] | None:
        """Returns the result of the request's next append to the stream if an earlier try of it succeeded, else None.

        Requests use it before checks that would refuse a change which their earlier try has already made.
        """
        if origin.effects is None:
            return None
        async with self.pool.acquire() as db:
            effect = Effect(origin.effects.seed, origin.effects.counts.get(stream_id, 0))
            repeat = await self._find_effect(db, stream_type, origin, stream_id, effect)
        if repeat is not None:
            self.feed.wake_watchers(stream_id)
        return repeat

    async def check(self, stream_type: StreamType[S, C], origin: Origin, stream_id: str, command: C) -> None:
        """Raises the error of `decide` if the command would be refused now; does nothing for a repeated request.

        Operations that change another stream first call it, so that they leave nothing there if this stream refuses.
        """
        if await self.find_repeat(stream_type, origin, stream_id) is None:
            async with self.pool.acquire() as db:
                state, _ = await self._load(db, stream_type, origin, stream_id)
            await self._decide_events(stream_type, state, command, self.clock.now())

    async def preview(
        self, stream_type: StreamType[S, C], origin: Origin, stream_id: str, command: CommandFactory[C]
    ) -> Sequence[Any]:
        """Returns the events that the command would append now. Its facts and the state are of the same moment.

        For requests with much work before their append. Raises the errors of `decide`.
        """
        async with self.pool.acquire() as db, db.transaction(isolation="repeatable_read", readonly=True):
            state, _ = await self._load(db, stream_type, origin, stream_id)
            return await self._decide_events(stream_type, state, await command(db), self.clock.now())

    async def load_upload(self, origin: Origin, upload_id: str) -> UploadState:
        """Returns the current state of the upload. Raises NotFound if it belongs to another project."""
        async with self.pool.acquire() as db:
            return (await self._load(db, UPLOAD, origin, upload_id))[0]

    async def load_thread(self, thread_id: str) -> ThreadState:
        """Returns the current state of the thread, of any project."""
        async with self.pool.acquire() as db:
            head = await event_log.head(db, thread_id, THREAD)
            return await load_state(db, THREAD, thread_id, head)

    def _publish_thread(self, thread_id: str, result: AppendResult[ThreadState]) -> AppendResult[ThreadState]:
        if result.is_repeat:
            self.feed.wake_watchers(thread_id)
        elif result.recorded:
            self.feed.publish_thread(thread_id, result.recorded, result.state)
        return result

    async def _write(
        self,
        stream_type: StreamType[S, C],
        origin: Origin,
        stream_id: str,
        decide_on: Callable[[Connection], Awaitable[_Decision[F, C]]],
        guard: Guard | None,
    ) -> tuple[_Decision[F, C] | None, AppendResult[S]]:
        """Returns the decision and its append's result; for a repeated request, None and the first try's result.

        A decision on a cached head counts only if it is appended. A refusal, or a decision to do nothing, is made again
        on a loaded head, since another process may have changed the stream.
        """
        effect = _next_effect(origin, stream_id)
        await self._turns.enter(stream_id)
        try:
            async with self.pool.acquire() as db:
                for _ in range(MAX_ATTEMPTS):
                    written = await self._attempt(db, stream_type, origin, stream_id, decide_on, effect, guard)
                    if written is not None:
                        return written
        finally:
            self._turns.leave(stream_id)
        raise Conflict(stream_id)

    async def _attempt(
        self,
        db: Connection,
        stream_type: StreamType[S, C],
        origin: Origin,
        stream_id: str,
        decide_on: Callable[[Connection], Awaitable[_Decision[F, C]]],
        effect: Effect | None,
        guard: Guard | None,
    ) -> tuple[_Decision[F, C] | None, AppendResult[S]] | None:
        """Returns what `_write` returns, or None if the stream has changed, so that another attempt is necessary."""
        if effect is not None:
            repeat = await self._find_effect(db, stream_type, origin, stream_id, effect)
            if repeat is not None:
                return None, repeat
        cached = self._heads.take(stream_type, stream_id, origin.project_id)
        if cached is not None:
            state, head = cached.state, cached.head
        else:
            state, head = await self._load(db, stream_type, origin, stream_id)
        try:
            decision = await decide_on(db)
            new = await self._decide(stream_type, origin, stream_id, state, head, decision.command, effect)
        except Exception:
            if cached is not None:
                return None
            self._heads.put(stream_type, stream_id, head, state)
            raise
        if new is None:
            if cached is not None:
                return None
            self._heads.put(stream_type, stream_id, head, state)
            return decision, AppendResult([], state, head.version)
        try:
            self._heads.put(stream_type, stream_id, await self._append(db, new, guard), new.after)
        except VersionConflict:
            return None
        return decision, AppendResult([*new.recorded], new.after, new.recorded[-1].version)

    async def _decide(
        self,
        stream_type: StreamType[S, C],
        origin: Origin,
        stream_id: str,
        state: S,
        head: event_log.Head,
        command: C,
        effect: Effect | None,
    ) -> Append[S] | None:
        """Returns the append that the command leads to, or None if there is nothing to do. Raises as `decide`.

        A large command is decided in a thread.
        """
        large = is_large(command)
        now = self.clock.now()
        at = now if head.at is None else max(now, head.at)

        def decide() -> Append[S] | None:
            events = stream_type.decide(state, command, at)
            if not events:
                return None
            recorded = event_log.number_events(stream_id, head.version, events, at, origin)
            return Append(
                stream_type=stream_type,
                stream_id=stream_id,
                expected=head,
                recorded=recorded,
                before=state,
                after=reduce(stream_type.evolve, recorded, state),
                effect=effect,
                is_large=large,
            )

        return await compute(decide, in_thread=large)

    async def _decide_events(self, stream_type: StreamType[S, C], state: S, command: C, at: datetime) -> Sequence[Any]:
        """Returns the events that the command leads to. A large command is decided in a thread."""
        return await compute(lambda: stream_type.decide(state, command, at), in_thread=is_large(command))

    async def _find_effect(
        self, db: Connection, stream_type: StreamType[S, C], origin: Origin, stream_id: str, effect: Effect
    ) -> AppendResult[S] | None:
        """Returns the result of the append at this place, or None if it was not made."""
        versions = await find_effect(db, effect.seed, stream_id, effect.place)
        if versions is None:
            return None
        state, head = await self._load(db, stream_type, origin, stream_id)
        recorded = await event_log.read_range(db, stream_id, versions[0], versions[1])
        return AppendResult(recorded, state, head.version, is_repeat=True)

    async def _append(self, db: Connection, new: Append[S], guard: Guard | None) -> event_log.Head:
        return await append(db, new, ids=self._ids, guard=guard)

    async def _load(
        self, db: Connection, stream_type: StreamType[S, C], origin: Origin, stream_id: str
    ) -> tuple[S, event_log.Head]:
        head = await event_log.head(db, stream_id, stream_type)
        if head.project_id is not None and head.project_id != origin.project_id:
            raise FileNotFound(stream_id) if stream_type is FILE else NotFound(stream_type.noun, stream_id)
        return await load_state(db, stream_type, stream_id, head), head


def _next_effect(origin: Origin, stream_id: str) -> Effect | None:
    """Returns the effect of the request's next append to the stream; None if the request has no Idempotency-Key."""
    effects = origin.effects
    return None if effects is None else Effect(effects.seed, effects.next_number(stream_id))
