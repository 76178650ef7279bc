"""The Writer against a real Postgres: reads after writes, versions without gaps, concurrent writers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from events import codec, event_log
from events.clock import Clock
from events.envelope import EffectCounter, Event, RecordedEvent
from events.errors import Conflict, DomainError, NotFound, Rejection
from events.event_log import Head
from events.streams import THREAD
from events.thread.commands import AddMessage, DeleteMessage, ModifyThread, ThreadCommand
from events.thread.state import ThreadState
from projections import append as append_module
from projections import messages, rebuild, runs, threads
from projections.append import Append, Guard, VersionConflict, append
from projections.rebuild import verify
from projections.rows import Cursor
from service.database import Pool
from service.feed import Feed
from service.tasks.off_loop import LARGE
from service.writer import MAX_ATTEMPTS, Writer, stream_turns
from sql import row_operations
from sql.connection import Connection
from sql.row_operations import RowOperation
from tests.clock import CLOCK, IDS
from tests.events.thread.story import CREATE, add, claim, finish, run
from tests.leaf_check import check_leaves
from tests.projections.helpers import ORIGIN, OTHER, make_thread, writer

CLIENTS = 30


async def versions(db: Connection, stream_id: str) -> list[int]:
    return [entry.version for entry in await event_log.read(db, stream_id)]


async def test_read_what_you_wrote(pool: Pool, db: Connection) -> None:
    write = writer(pool)
    written = await write.thread(ORIGIN, "thread_1", CREATE)
    assert (written.version, len(written.recorded)) == (1, 1)
    assert (await threads.get(db, "proj_1", "thread_1")).created_at == written.recorded[0].seconds
    await write.thread(ORIGIN, "thread_1", add("Hi", "msg_1"))
    assert (await messages.get(db, "proj_1", "thread_1", "msg_1")).content[0]["text"]["value"] == "Hi"
    await write.thread(ORIGIN, "thread_1", run(claim=claim(first="c")))
    assert (await runs.get(db, "proj_1", "thread_1", "run_1")).status == "in_progress"
    written = await write.thread(ORIGIN, "thread_1", finish("Hello."))
    made = await runs.get(db, "proj_1", "thread_1", "run_1")
    assert (made.status, made.completed_at) == ("completed", written.recorded[0].seconds)
    assert await versions(db, "thread_1") == list(range(1, written.version + 1))


async def test_a_refused_command_leaves_nothing(pool: Pool, db: Connection) -> None:
    write = writer(pool)
    with pytest.raises(NotFound):
        await write.thread(ORIGIN, "thread_1", add())
    assert await versions(db, "thread_1") == []


async def test_clients_that_meet_lose_nothing(pool: Pool, db: Connection) -> None:
    """Every writer either succeeds or gets an error. All successful appends are there, and no refused one is."""
    write = writer(pool)
    await make_thread(write)
    await write.thread(ORIGIN, "thread_1", add("Hi", "msg_first"))

    async def ask(command: ThreadCommand) -> bool:
        try:
            return bool((await write.thread(ORIGIN, "thread_1", command)).recorded)
        except Conflict:
            return False

    numbers = range(CLIENTS)
    changed = await asyncio.gather(
        *(ask(add(str(n), f"msg_{n}")) for n in numbers),
        *(ask(ModifyThread({"metadata": {"n": str(n)}})) for n in numbers),
    )
    found = await messages.page(db, "proj_1", "thread_1", Cursor(limit=1000))
    added = {f"msg_{n}" for n, done in zip(numbers, changed[:CLIENTS], strict=True) if done}
    assert {message.id for message in found.items} == added | {"msg_first"}
    assert await versions(db, "thread_1") == list(range(1, 3 + sum(changed)))
    # One of the writers always wins, so a bound that few writers never reach would be luck; but most must succeed.
    assert sum(changed) >= len(changed) // 2
    assert await verify(db, "thread_1") == []


async def test_of_many_runs_at_once_one_begins(pool: Pool, db: Connection) -> None:
    write = writer(pool)
    await make_thread(write, "thread_1", "Hi")

    async def ask(number: int) -> bool:
        try:
            await write.thread(ORIGIN, "thread_1", run(f"run_{number}", messages=(add("x", f"msg_x{number}").message,)))
        except Rejection:
            return False
        return True

    began = await asyncio.gather(*(ask(number) for number in range(15)))
    assert sum(began) == 1
    found = await messages.page(db, "proj_1", "thread_1", Cursor(limit=1000))
    assert [message.id for message in found.items] == [f"msg_x{began.index(True)}", "msg_1"]


async def test_of_many_creators_one_makes_the_stream(pool: Pool, db: Connection) -> None:
    write = writer(pool)
    done = await asyncio.gather(*(write.thread(ORIGIN, "thread_1", CREATE) for _ in range(5)), return_exceptions=True)
    assert sum(not isinstance(result, BaseException) for result in done) == 1
    assert all(isinstance(result, DomainError) for result in done if isinstance(result, BaseException))
    assert await versions(db, "thread_1") == [1]


class Overtaken(Writer):
    """Makes another writer append just before each of the first `times` appends."""

    def __init__(self, pool: Pool, times: int) -> None:
        super().__init__(pool, Feed(), clock=CLOCK, ids=IDS)
        self.times = times
        self.attempts = 0

    async def _append(self, db: Connection, new: Append[Any], guard: Guard | None) -> Head:
        self.attempts += 1
        if self.attempts <= self.times:
            change = ModifyThread({"metadata": {"n": str(self.attempts)}})
            await writer(self.pool).thread(ORIGIN, "thread_1", change)
        return await super()._append(db, new, guard)


class Rebuilt(Overtaken):
    """Makes a rebuild rewrite the views just before each of the first `times` appends."""

    async def _append(self, db: Connection, new: Append[Any], guard: Guard | None) -> Head:
        self.attempts += 1
        if self.attempts <= self.times:
            async with self.pool.acquire() as other:
                await other.execute("UPDATE threads SET body = '{}'")
                await rebuild.rebuild(other, ["thread_1"])
        return await Writer._append(self, db, new, guard)


async def test_an_append_after_a_rebuild_loads_the_head_again(pool: Pool, db: Connection) -> None:
    await make_thread(writer(pool))
    rebuilt = Rebuilt(pool, 2)
    await rebuilt.thread(ORIGIN, "thread_1", add())
    assert rebuilt.attempts == 3
    assert await versions(db, "thread_1") == [1, 2]
    assert await verify(db, "thread_1") == []


async def test_an_append_expects_the_last_leaf(pool: Pool, db: Connection) -> None:
    """After a restore, a version can come again with another event."""
    write = writer(pool)
    await make_thread(write, "thread_1", "one")
    head = await event_log.head(db, "thread_1", THREAD)
    state = await write.load_thread("thread_1")
    events = THREAD.decide(state, add("two", "msg_2"), CLOCK.now())
    recorded = event_log.number_events("thread_1", 2, events, CLOCK.now(), ORIGIN)
    for stale in (replace(head, leaf=bytes(32)), replace(head, fence=head.fence + 1), replace(head, version=1)):
        new = Append(
            stream_type=THREAD, stream_id="thread_1", expected=stale, recorded=recorded, before=state, after=state
        )
        with pytest.raises(VersionConflict):
            await append(db, new, ids=IDS)
    assert await check_leaves(db) == 2


async def test_a_large_append_is_made_in_parts_and_in_a_thread(
    pool: Pool, db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows are those of one statement, and the event loop waits for one part at a time."""
    threads_used, inserted = set[int](), list[int]()
    dump, execute = codec.dump, row_operations.execute_with_head

    def recorded_dump(event: Event) -> bytes:
        threads_used.add(threading.get_ident())
        return dump(event)

    async def recorded_execute(db: Connection, operations: Sequence[RowOperation], *, at_once: int) -> None:
        inserted.extend(len(one.values[2]) for one in operations if one.block == "events.insert")
        await execute(db, operations, at_once=at_once)

    monkeypatch.setattr(codec, "dump", recorded_dump)
    monkeypatch.setattr(append_module, "execute_with_head", recorded_execute)
    monkeypatch.setattr(row_operations, "MAX_PART_BYTES", LARGE)
    new = tuple(replace(add("x" * (LARGE // 4), f"msg_{number}").message) for number in range(10))
    write = writer(pool)
    await write.thread(ORIGIN, "thread_1", replace(CREATE, messages=new))
    assert threading.get_ident() not in threads_used
    assert inserted == [5, 4, 2], "the creation of the thread and the messages, four of which exceed a part"
    assert await versions(db, "thread_1") == [*range(1, 12)]
    page = await messages.page(db, "proj_1", "thread_1", Cursor(limit=20, order="asc"))
    assert [message.id for message in page.items] == [message.id for message in new]
    assert await check_leaves(db) == 11
    assert await verify(db, "thread_1") == []
    threads_used.clear()
    await write.thread(ORIGIN, "thread_1", add("Hi", "msg_x"))
    assert threads_used == {threading.get_ident()}


async def test_conflicts_are_tried_again_within_a_bound(pool: Pool, db: Connection) -> None:
    await make_thread(writer(pool))
    lucky = Overtaken(pool, MAX_ATTEMPTS - 1)
    await lucky.thread(ORIGIN, "thread_1", add())
    assert lucky.attempts == MAX_ATTEMPTS
    unlucky = Overtaken(pool, MAX_ATTEMPTS)
    with pytest.raises(Conflict):
        await unlucky.thread(ORIGIN, "thread_1", add("x", "msg_lost"))
    with pytest.raises(NotFound):
        await messages.get(db, "proj_1", "thread_1", "msg_lost")


async def test_facts_are_read_anew_on_every_attempt(pool: Pool) -> None:
    """A message that another client deleted first is not deleted twice."""
    await make_thread(writer(pool), "thread_1", "Hi")

    class Raced(Overtaken):
        async def _append(self, db: Connection, new: Append[Any], guard: Guard | None) -> Head:
            self.attempts += 1
            if self.attempts == 1:
                await writer(self.pool).thread(ORIGIN, "thread_1", DeleteMessage("msg_1", "user"))
            return await super(Overtaken, self)._append(db, new, guard)

    async def command(db: Connection) -> DeleteMessage:
        try:
            found = await messages.get(db, "proj_1", "thread_1", "msg_1")
        except NotFound:
            return DeleteMessage("msg_1", None)
        return DeleteMessage("msg_1", found.role)

    with pytest.raises(NotFound):
        await Raced(pool, 0).thread(ORIGIN, "thread_1", command)


class BackwardsClock(Clock):
    """A clock that goes back one second at each call."""

    def __init__(self) -> None:
        self._at = datetime(2026, 1, 1, 12, tzinfo=UTC)

    def now(self) -> datetime:
        self._at -= timedelta(seconds=1)
        return self._at


async def test_the_facts_of_a_command_are_those_it_was_decided_on(pool: Pool) -> None:
    """After a conflict the facts are read again; a repeated request gets them as they were before its first try."""
    await make_thread(writer(pool), "thread_1", "Hi")

    class Raced(Overtaken):
        async def _append(self, db: Connection, new: Append[Any], guard: Guard | None) -> Head:
            self.attempts += 1
            if self.attempts == 1:
                await writer(self.pool).thread(ORIGIN, "thread_1", ModifyThread({"metadata": {"n": "other"}}))
            return await super(Overtaken, self)._append(db, new, guard)

    async def read(db: Connection) -> str | None:
        return (await threads.get(db, ORIGIN.project_id, "thread_1")).metadata.get("n")

    def command(fact: str | None) -> ModifyThread:
        return ModifyThread({"metadata": {"n": f"after {fact}"}})

    origins = [replace(ORIGIN, effects=EffectCounter(b"seed")) for _ in range(2)]
    first = await Raced(pool, 0).thread_on_facts(origins[0], "thread_1", read, command)
    repeat = await writer(pool).thread_on_facts(origins[1], "thread_1", read, command)
    assert (first[0], repeat[0]) == ("other", "other")
    assert (first[1].is_repeat, repeat[1].is_repeat) == (False, True)
    assert repeat[1].recorded == first[1].recorded
    async with pool.acquire() as db:
        assert await read(db) == "after other"


async def test_time_in_a_stream_never_goes_back(pool: Pool, db: Connection) -> None:
    await make_thread(writer(pool, BackwardsClock()), "thread_1", "a", "b")
    at = [entry.at for entry in await event_log.read(db, "thread_1")]
    assert at == sorted(at)


async def test_the_feed_hears_of_what_was_committed(pool: Pool) -> None:
    heard: list[tuple[str, int, ThreadState]] = []

    class Ear:
        def on_thread_append(self, thread_id: str, recorded: Any, state: ThreadState) -> None:
            heard.append((thread_id, recorded[-1].version, state))

    write = writer(pool)
    write.feed.listen_to_threads(Ear())
    with write.feed.watch("thread_1") as watcher, write.feed.watch("thread_2") as other:
        await make_thread(write, "thread_1", "a")
        taken = await watcher.take()
        assert [entry.version for entry in taken if isinstance(entry, RecordedEvent)] == [1, 2]
        assert not other._items
    assert [(thread_id, version) for thread_id, version, _ in heard] == [("thread_1", 1), ("thread_1", 2)]
    assert heard[-1][2] == await write.load_thread("thread_1")


async def test_older_state_is_folded_again_and_newer_is_left_alone(pool: Pool, db: Connection) -> None:
    write = writer(pool)
    await make_thread(write, "thread_1", "a", "b")
    await db.execute("""UPDATE streams SET state_schema = 0, state = '{"old": "shape"}'""")
    assert (await write.load_thread("thread_1")).user_messages == 2
    await db.execute("UPDATE streams SET state_schema = 99")
    with pytest.raises(RuntimeError, match="newer software"):
        await writer(pool).thread(ORIGIN, "thread_1", add())


async def test_a_project_is_in_every_row(pool: Pool, db: Connection) -> None:
    write = writer(pool)
    await make_thread(write, "thread_1", "a", origin=OTHER)
    await write.thread(OTHER, "thread_1", run(claim=claim(first="c")))
    await write.thread(OTHER, "thread_1", finish("Hello.", "call_1"))
    for table in ("events", "streams", "threads", "messages", "runs", "steps"):
        found = await db.fetch(f"SELECT DISTINCT project_id FROM {table}")
        assert [row["project_id"] for row in found] == ["proj_2"], table


async def test_text_that_postgres_refuses_never_gets_half_way(pool: Pool, db: Connection) -> None:
    """Handlers remove invalid characters; if one slips through, the whole append is refused."""
    write = writer(pool)
    await make_thread(write)
    bad = AddMessage(add("a\x00b").message)
    written = await write.thread(ORIGIN, "thread_1", bad)
    assert (await messages.get(db, "proj_1", "thread_1", "msg_user")).content[0]["text"]["value"] == "a\x00b"
    assert written.version == 2


async def test_nobody_waits_for_a_turn_longer_than_its_time(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that hangs under one append must not make the waiting ones wait for the sum of all time-outs."""
    monkeypatch.setattr(stream_turns, "TURN_TIMEOUT", 0.05)
    made, hanging = Writer(pool, Feed(), clock=CLOCK, ids=IDS), asyncio.Event()

    async def hangs(_db: Connection) -> ThreadCommand:
        await hanging.wait()
        return CREATE

    first = asyncio.create_task(made.thread(ORIGIN, "thread_1", hangs))
    others = [asyncio.create_task(made.thread(ORIGIN, "thread_1", CREATE)) for _ in range(3)]
    found = await asyncio.gather(*others, return_exceptions=True)
    assert [type(one) for one in found] == [TimeoutError] * 3
    hanging.set()
    assert (await first).version == 1


async def test_turns_on_a_stream_come_in_order_also_past_a_cancelled_command() -> None:
    turns, served = stream_turns.StreamTurns(), list[int]()

    async def command(number: int) -> None:
        await turns.enter("thread_1")
        served.append(number)
        await asyncio.sleep(0)
        turns.leave("thread_1")

    await turns.enter("thread_1")
    tasks = [asyncio.create_task(command(number)) for number in range(5)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    turns.leave("thread_1")
    tasks[0].cancel()  # its turn has come, but it has not run
    await asyncio.wait(tasks)
    await turns.enter("thread_1")
    assert served == [2, 3, 4]
