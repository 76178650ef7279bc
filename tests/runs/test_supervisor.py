"""The supervisor keeps to its room, forgets no run, and isolates runs that fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, Literal

import asyncpg
import pytest
from structlog.testing import capture_logs

import service.feed
from events.envelope import RecordedEvent
from events.event_log import Head
from events.thread.commands import ClaimRun
from projections.append import Append, Guard
from projections.rebuild import verify
from service.database import Pool, connect
from service.feed import Feed
from service.model.base import ChatRequest, ModelEvent, TextDelta
from service.runs import supervisor
from service.runs.plan import MAX_CALL_DEATHS
from service.secrets.key_ring import KeyMissing
from service.writer import Writer
from sql.connection import Connection
from tests.clock import CLOCK, IDS
from tests.events.thread.story import FUNCTION, run
from tests.projections.helpers import ORIGIN
from tests.runs.fake_model import FakeModel, Hold, asks, says
from tests.runs.process import CountingWriter, Process, texts


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "RETRY_AFTER_S", 0.01)
    monkeypatch.setattr(service.feed, "POLL", 0.02)


@pytest.mark.slow
async def test_no_more_runs_at_once_than_allowed_and_none_forgotten(database_url: str) -> None:
    count, room = 12, 2
    most = 0

    async with Process(database_url, FakeModel(lambda _: says("Hello.")), max_runs=room) as process:

        def answer(_: Any) -> Any:
            nonlocal most
            most = max(most, process.supervisor.active)
            return says("Hello.")

        process.model._answer = answer
        threads = [f"t{n}" for n in range(count)]
        await asyncio.gather(*(process.say(thread, "Hi") for thread in threads))
        await asyncio.gather(*(process.begin(thread) for thread in threads))
        found = await asyncio.gather(*(process.wait_until_settled(thread) for thread in threads))
        assert [made.status for made in found] == ["completed"] * count
        assert 1 <= most <= room
        assert process.supervisor.active == 0


async def test_a_backlog_is_drained_as_soon_as_there_is_room(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runs start before the next scan, which is an hour away."""
    monkeypatch.setattr(supervisor, "SCAN_EVERY_S", 3600.0)
    hold = Hold()
    async with Process(database_url, FakeModel(None, [hold, *says("One.")], says("Two.")), max_runs=1) as process:
        for thread in ("t1", "t2"):
            await process.say(thread, "Hi")
            await process.begin(thread)
        await hold.wait()
        assert (await process.run("t2")).status == "queued"
        hold.opened.set()
        assert (await process.wait_until_settled("t2")).status == "completed"


async def test_scans_follow_each_other_while_there_is_room(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The backlog is longer than a scan, its runs do not end, and the next scan is an hour away."""
    monkeypatch.setattr(supervisor, "SCAN_EVERY_S", 3600.0)
    monkeypatch.setattr(supervisor, "SCAN_LIMIT", 2)
    holds = [Hold() for _ in range(5)]
    left = iter(holds)
    async with Process(database_url, FakeModel(lambda _: [next(left), *says("Hello.")]), max_runs=0) as process:
        for number in range(len(holds)):
            await process.say(f"t{number}", "Hi")
            await process.begin(f"t{number}")
        process.supervisor._max_runs = 10
        process.supervisor.on_peers_change()
        for hold in holds:
            await hold.wait()
        assert process.supervisor.active == len(holds)


async def test_a_backlog_is_claimed_before_its_runs_start(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "SCAN_LIMIT", 2)
    monkeypatch.setattr(supervisor, "CLAIMS_AT_ONCE", 1)
    claimed: list[int] = []
    async with Process(database_url, FakeModel(None), max_runs=0) as process:

        def answer(_: Any) -> Any:
            claimed.append(process.supervisor.active)
            return says("Hello.")

        process.model._answer = answer
        threads = [f"t{number}" for number in range(5)]
        for thread in threads:
            await process.say(thread, "Hi")
            await process.begin(thread)
        process.supervisor._max_runs = 10
        process.supervisor.on_peers_change()
        for thread in threads:
            assert (await process.wait_until_settled(thread)).status == "completed"
    assert claimed[0] == len(threads)


async def test_a_supervisor_that_retires_during_a_scan_claims_no_further_runs(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "CLAIMS_AT_ONCE", 1)

    class Retirement:
        def on_thread_append(self, thread_id: str, recorded: Any, state: Any) -> None:
            if any(entry.event.type == "run.claimed" for entry in recorded):
                process.supervisor.retire()

    async with Process(database_url, FakeModel(lambda _: says("Hello.")), max_runs=0) as process:
        threads = [f"t{number}" for number in range(4)]
        for thread in threads:
            await process.say(thread, "Hi")
            await process.begin(thread)
        process.feed.listen_to_threads(Retirement())
        process.supervisor._max_runs = 10
        assert not await process.supervisor._claim_orphans()
        assert isinstance(process.writer, CountingWriter)
        assert process.writer.appends.count(["run.claimed"]) == 1


class FlakyWriter(Writer):
    """Fails the first append of events of a type.

    It loses the connection before the append or before its answer, or lacks a key for the encryption.
    """

    def __init__(self, pool: Pool, feed: Feed, kind: str, when: Literal["before", "after", "without_key"]) -> None:
        super().__init__(pool, feed, clock=CLOCK, ids=IDS)
        self.happened = 0
        self._kind = kind
        self._when = when

    async def _append(self, db: Connection, new: Append[Any], guard: Guard | None) -> Head:
        hit = not self.happened and any(entry.event.type == self._kind for entry in new.recorded)
        self.happened += hit
        if hit and self._when == "without_key":
            raise KeyMissing("0" * 16)
        if hit and self._when == "before":
            raise asyncpg.InterfaceError("connection is closed")
        head = await super()._append(db, new, guard)
        if hit:
            raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
        return head


def flaky_process(kind: str, when: Literal["before", "after", "without_key"]) -> Callable[[Pool, Feed], FlakyWriter]:
    return lambda pool, feed: FlakyWriter(pool, feed, kind, when)


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after", "without_key"])
@pytest.mark.parametrize("kind", ["model_call.finished", "run.requires_action", "run.completed"])
async def test_a_hiccup_of_the_database_does_not_hurt_a_run(
    database_url: str, kind: str, when: Literal["before", "after", "without_key"]
) -> None:
    def answer(request: Any) -> Any:
        return says("Sunny.") if request.messages[-1]["role"] == "tool" else asks("weather")

    async with Process(database_url, FakeModel(answer), make_writer=flaky_process(kind, when)) as process:
        await process.say("t1", "Hi")
        await process.begin("t1", tools=(FUNCTION,))
        await _wait_for_status(process, "requires_action")
        await process.answer(await process.run("t1"))
        await _wait_for_status(process, "completed")
        assert texts(await process.messages("t1")) == [("user", "Hi"), ("assistant", "Sunny.")]
        assert isinstance(process.writer, FlakyWriter)
        assert process.writer.happened == 1
        # The result of a call survives the failure, so no call is made again.
        assert len(process.model.requests) == 2
        async with process.pool.acquire() as db:
            assert await verify(db, "t1") == []
        # Each call is in the log as one attempt.
        types = [entry.event.type for entry in await process.log("t1")]
        assert types.count("model_call.started") == len(process.model.requests)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_run_that_fails_while_the_database_is_away_is_failed_later(
    database_url: str, when: Literal["before", "after"]
) -> None:
    """The failure is appended as soon as the database is back, by the same claim: it is no new attempt."""
    model = FakeModel(None, [RuntimeError("an error that nobody expects")])
    async with Process(database_url, model, make_writer=flaky_process("run.failed", when)) as process:
        await process.say("t1", "Hi")
        with capture_logs() as logs:
            await process.begin("t1")
            await _wait_for_status(process, "failed")
        assert isinstance(process.writer, FlakyWriter)
        assert process.writer.happened == 1
        assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["run_broken"]
        types = [entry.event.type for entry in await process.log("t1")]
        assert types.count("model_call.started") == len(process.model.requests) == 1


async def _wait_for_status(process: Process, status: str) -> None:
    """Waits for a status in the log, since an append without an answer is not published."""
    await process.wait_for("t1", lambda state: state.run is None or state.run.status == status)
    assert (await process.run("t1")).status == status


async def test_a_server_that_closes_every_connection_does_not_hurt_a_run(database_url: str) -> None:
    hold = Hold()
    async with Process(database_url, FakeModel(lambda _: [hold, *says("Hello.")])) as process:
        await process.say("t1", "Hi")
        await process.begin("t1")
        await hold.wait()
        taken: list[Any] = []
        admin = await connect(database_url)
        others = "datname = current_database() AND pid <> pg_backend_pid()"
        await admin.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
        await admin.close()
        with process.feed.watch("t1") as watcher:
            hold.opened.set()
            async with asyncio.timeout(10):
                while not any(isinstance(item, RecordedEvent) and item.event.type == "run.completed" for item in taken):
                    taken = await watcher.take()
        assert (await process.run("t1")).status == "completed"
        assert len(process.model.requests) <= 2


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_claim_without_an_answer_is_not_lost(
    database_url: str, when: Literal["before", "after"], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run continues whether or not the scan's claim has reached the log."""
    monkeypatch.setattr(supervisor, "SCAN_EVERY_S", 0.05)
    make = flaky_process("run.claimed", when)
    async with Process(database_url, FakeModel(lambda _: says("Hello.")), max_runs=0, make_writer=make) as process:
        await process.say("t1", "Hi")
        await process.begin("t1")
        process.supervisor._max_runs = 1
        process.supervisor.on_peers_change()
        await _wait_for_status(process, "completed")
        assert len(process.model.requests) == 1


async def test_a_run_made_without_an_answer_is_not_lost(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client got an error though its run exists. The run must not block its thread until it expires."""
    monkeypatch.setattr(supervisor, "SCAN_EVERY_S", 0.05)
    make = flaky_process("run.created", "after")
    async with Process(database_url, FakeModel(lambda _: says("Hello.")), make_writer=make) as process:
        await process.say("t1", "Hi")
        with pytest.raises(asyncpg.ConnectionDoesNotExistError):
            await process.begin("t1")
        await _wait_for_status(process, "completed")
        await process.log("t1")


@pytest.mark.slow
async def test_a_thread_that_newer_software_wrote_is_left_alone(database_url: str) -> None:
    """During a rolling upgrade, this process must neither change the run nor fail on it."""
    async with Process(database_url, FakeModel(lambda _: says("Hello.")), max_runs=0) as process:
        for thread in ("t_newer", "t_ours"):
            await process.say(thread, "Hi")
            await process.begin(thread)
        async with process.pool.acquire() as db:
            await db.execute("UPDATE streams SET state_schema = 99, fence = 1 WHERE stream_id = 't_newer'")
        process.supervisor._max_runs = 10
        process.supervisor.on_peers_change()
        assert (await process.wait_until_settled("t_ours")).status == "completed"
        assert (await process.run("t_newer")).status == "queued"


async def test_a_supervisor_that_stops_takes_nothing_on(database_url: str) -> None:
    """Requests end while the server stops. Their runs are created without a claim, for another process."""
    async with Process(database_url, FakeModel()) as process:
        await process.say("t1", "Hi")
        supervising = process._tasks[-1]
        with process.supervisor.offer() as claim:
            supervising.cancel()
            await asyncio.wait({supervising})
            await process.do("t1", run("run_t1", claim))
        assert (await process.run("t1")).status == "in_progress"
        with process.supervisor.offer() as late:
            assert late is None
    async with Process(database_url, FakeModel(None, says("Hello."))) as process:
        assert (await process.wait_until_settled("t1")).status == "completed"


async def test_a_claim_that_was_overtaken_stops_its_work(database_url: str) -> None:
    hold = Hold()
    async with Process(database_url, FakeModel(None, [hold])) as process:
        await process.say("t1", "Hi")
        made = await process.begin("t1")
        await hold.wait()
        await process.writer.thread(ORIGIN, "t1", ClaimRun(made.id, 12345, process.peers.process))
        await process.model.wait_for_stop()
        state = await process.writer.load_thread("t1")
        assert state.run is not None
        assert (state.run.process, state.run.epoch) == (12345, 2)


class SlowModel(FakeModel):
    """A model whose stream yields a word, then waits, and is slow to stop."""

    def __init__(self) -> None:
        super().__init__()
        self.closing = asyncio.Event()

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Sequence[ModelEvent], None]:
        self._asking.set()
        self.requests.append(request)
        try:
            yield [TextDelta("Hel")]
            await asyncio.Event().wait()
        finally:
            self.closing.set()
            await asyncio.Event().wait()


async def test_stopping_while_a_model_call_is_being_stopped(database_url: str) -> None:
    """An executor that is cancelled while it stops a model call ends, and appends nothing more."""
    model = SlowModel()
    async with Process(database_url, model) as process:
        await process.say("t1", "Hi")
        await process.begin("t1")
        await model.wait_for_requests(1)
        await process.cancel(await process.run("t1"))
        async with asyncio.timeout(10):
            await model.closing.wait()
            supervising = process._tasks.pop()
            supervising.cancel()
            await asyncio.wait({supervising})
        assert supervising.cancelled()
        assert (await process.run("t1")).status == "cancelling"


@pytest.mark.slow
async def test_orderly_stops_use_up_no_attempts(database_url: str) -> None:
    for number in range(MAX_CALL_DEATHS + 2):
        hold = Hold()
        async with Process(database_url, FakeModel(None, [[TextDelta("Hel")], hold])) as process:
            if number == 0:
                await process.say("t1", "Hi")
                await process.begin("t1")
            await hold.wait()
            await process.stop()
            state = await process.writer.load_thread("t1")
            assert state.run is not None
            assert state.run.process is None, "the claim is released"
    async with Process(database_url, FakeModel(None, says("Hello."))) as process:
        assert (await process.wait_until_settled("t1")).status == "completed"
        assert texts(await process.messages("t1")) == [("user", "Hi"), ("assistant", "Hello.")]
        await process.log("t1")


@pytest.mark.slow
async def test_a_call_that_kills_its_process_is_given_up(database_url: str) -> None:
    for number in range(MAX_CALL_DEATHS):
        hold = Hold()
        async with Process(database_url, FakeModel(None, [hold])) as process:
            if number == 0:
                await process.say("t1", "Hi")
                await process.begin("t1")
            await hold.wait()
            await process.kill()
    async with Process(database_url, FakeModel()) as process:
        ended = await process.wait_until_settled("t1")
        assert (ended.status, ended.last_error) == (
            "failed",
            {"code": "server_error", "message": "The model call was broken off 5 times."},
        )
