"""The crash law (docs/architecture.md, "Rules"): after a crash at any append, a run ends as if there had been none.

A process dies right before or right after its n-th append, for every n, and another process takes its place. The client
continues its scenario: it reads the objects, and repeats the requests whose effects are missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

import pytest

import service.processes.peers
from events.envelope import RecordedEvent
from events.event_log import Head
from events.thread import events as e
from projections import placeholders
from projections.append import Append, Guard
from projections.rebuild import verify
from service.database import Pool, connect
from service.feed import Feed
from service.model.base import ChatRequest, ModelStreamEnd, TextDelta, ToolCallDelta
from service.runs import supervisor
from service.tools.base import CrashPolicy, HostedCall
from service.writer import Writer
from sql.connection import Connection
from tests.clock import CLOCK, IDS
from tests.events.thread.story import FUNCTION
from tests.leaf_check import check_leaves
from tests.runs.fake_model import USAGE, WAIT_S, FakeModel, Hold, Script, asks, says, uses
from tests.runs.fake_tool import FakeTool
from tests.runs.process import Process, read_log, texts

MAX_APPENDS = 16
When = Literal["before", "after"]


class DyingWriter(Writer):
    """Hangs at its `at`-th append, right before or right after it, and at everything that it does afterwards."""

    def __init__(self, pool: Pool, feed: Feed, at: int, when: When) -> None:
        super().__init__(pool, feed, clock=CLOCK, ids=IDS)
        self.dead = asyncio.Event()
        self._at = at
        self._when = when
        self._count = 0

    async def _append(self, db: Connection, new: Append[Any], guard: Guard | None) -> Head:
        self._count += 1
        last = self._count == self._at
        if self.dead.is_set() or (last and self._when == "before"):
            await self._die()
        head = await super()._append(db, new, guard)
        if self.dead.is_set() or last:
            await self._die()
        return head

    async def _die(self) -> None:
        self.dead.set()
        await asyncio.Event().wait()


@dataclass(frozen=True)
class Scenario:
    """The actions of a client and their expected results. `answer` returns the scripts of the model."""

    client: Callable[[Process, str], Awaitable[None]]
    answer: Callable[[ChatRequest], Script]
    status: str
    messages: tuple[tuple[str, str], ...]
    steps: tuple[tuple[str, str], ...]
    after_crash: CrashPolicy = "again"


async def text_turn(process: Process, thread: str) -> None:
    await process.say(thread, "Hi")
    await process.begin(thread)
    await process.wait_until_settled(thread)


async def queued_turn(process: Process, thread: str) -> None:
    """The run is created in a process without room, and claimed by a scan."""
    await process.say(thread, "Hi")
    room, process.supervisor._max_runs = process.supervisor._max_runs, 0
    await process.begin(thread)
    process.supervisor._max_runs = room
    process.supervisor.on_peers_change()
    await process.wait_until_settled(thread)


async def tool_turn(process: Process, thread: str) -> None:
    await process.say(thread, "Hi")
    await process.begin(thread, tools=(FUNCTION,))
    await process.answer(await process.wait_until_settled(thread))
    await process.wait_until_settled(thread)


async def cancelled_turn(process: Process, thread: str) -> None:
    await process.say(thread, "Hi")
    await process.begin(thread)
    await process.wait_for(thread, lambda state: state.run is None or state.run.call is not None)
    await process.cancel(await process.run(thread))
    await process.wait_until_settled(thread)


async def queued_turns(process: Process, thread: str) -> None:
    """Adds all messages and runs before the first run starts. The second run starts without another request."""
    await process.say(thread, "Hi")
    room, process.supervisor._max_runs = process.supervisor._max_runs, 0
    await process.begin(thread)
    await process.add(thread, "And now?", f"msg_second_{thread}")
    await process.begin(thread, run_id=f"run_second_{thread}", queue=True)
    await process.add(thread, "Well?", f"msg_third_{thread}")
    process.supervisor._max_runs = room
    process.supervisor.on_peers_change()
    await process.wait_for_end(thread, f"run_second_{thread}")


def _says_hello(_: ChatRequest) -> Script:
    return says("Hel", "lo.")


def _uses_tools(request: ChatRequest) -> Script:
    return says("Sunny.") if request.messages[-1]["role"] == "tool" else asks("weather", "time")


def _counts(request: ChatRequest) -> Script:
    """Answers with the prompt, so that a prompt with wrong messages leads to a wrong answer."""
    return says(" | ".join(str(message["content"]) for message in request.messages[1:]))


async def code_turn(process: Process, thread: str) -> None:
    await process.say(thread, "Hi")
    await process.begin(thread, tools=({"type": "code_interpreter"},))
    await process.wait_until_settled(thread)


async def mixed_turn(process: Process, thread: str) -> None:
    await process.say(thread, "Hi")
    await process.begin(thread, tools=({"type": "code_interpreter"}, FUNCTION))
    await process.answer(await process.wait_until_settled(thread))
    await process.wait_until_settled(thread)


def _runs_code(request: ChatRequest) -> Script:
    """Makes two calls in its first reply, and one in its second."""
    told = sum(message["role"] == "tool" for message in request.messages)
    wanted = {0: ('{"code": "a"}', '{"code": "b"}'), 2: ('{"code": "c"}',)}
    return uses("code_interpreter", *wanted[told]) if told in wanted else says("Done.")


def _mixes(request: ChatRequest) -> Script:
    if any(message["role"] == "tool" for message in request.messages):
        return says("Done.")
    code = [ToolCallDelta(0, "up_0", "code_interpreter", '{"code": "a"}'), ToolCallDelta(1, "up_1", "weather", "{}")]
    return [code, [ModelStreamEnd("tool_calls", USAGE, "m-1")]]


def _hangs(_: ChatRequest) -> Script:
    return [Hold()]


HI = ("user", "Hi")
MESSAGE = ("message_creation", "completed")
# In the order of the list, which is that of the log. Some messages may come before or after the first answer.
LINE = (
    HI,
    ("user", "And now?"),
    ("user", "Well?"),
    ("assistant", "Hi"),
    ("assistant", "Hi | Hi | And now?"),
)
SCENARIOS = {
    "text": Scenario(text_turn, _says_hello, "completed", (HI, ("assistant", "Hello.")), (MESSAGE,)),
    "queued": Scenario(queued_turn, _says_hello, "completed", (HI, ("assistant", "Hello.")), (MESSAGE,)),
    "tool": Scenario(
        tool_turn, _uses_tools, "completed", (HI, ("assistant", "Sunny.")), (("tool_calls", "completed"), MESSAGE)
    ),
    "hosted": Scenario(
        code_turn,
        _runs_code,
        "completed",
        (HI, ("assistant", "Done.")),
        (("tool_calls", "completed"), ("tool_calls", "completed"), MESSAGE),
    ),
    "hosted, reported": Scenario(
        code_turn,
        _runs_code,
        "completed",
        (HI, ("assistant", "Done.")),
        (("tool_calls", "completed"), ("tool_calls", "completed"), MESSAGE),
        after_crash="report",
    ),
    "mixed": Scenario(
        mixed_turn, _mixes, "completed", (HI, ("assistant", "Done.")), (("tool_calls", "completed"), MESSAGE)
    ),
    "cancel": Scenario(cancelled_turn, _hangs, "cancelled", (HI,), ()),
    "line": Scenario(queued_turns, _counts, "completed", LINE, (MESSAGE,)),
}


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_crash_at_any_append_is_nothing(
    database_url: str, name: str, when: When, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "SCAN_EVERY_S", 0.05)
    for at in range(1, MAX_APPENDS):
        if not await play_with_crash(database_url, SCENARIOS[name], f"t{at}", at, when):
            # The scenario made fewer appends than that, so all of them have been tried.
            assert at > 3
            return
    raise AssertionError(f"{name} makes more than {MAX_APPENDS} appends")


async def play_with_crash(url: str, scenario: Scenario, thread: str, at: int, when: When) -> bool:
    """Plays the scenario with a crash at that append, and resumes. Returns False if the append was never reached."""
    model = FakeModel(scenario.answer)
    tool = FakeTool(after_crash=scenario.after_crash)

    def dying(pool: Pool, feed: Feed) -> DyingWriter:
        return DyingWriter(pool, feed, at, when)

    async with Process(url, model, make_writer=dying, tools=[tool]) as first:
        assert isinstance(first.writer, DyingWriter)
        playing = asyncio.ensure_future(scenario.client(first, thread))
        dying_wait = asyncio.create_task(first.writer.dead.wait())
        await asyncio.wait({playing, dying_wait}, timeout=WAIT_S, return_when=asyncio.FIRST_COMPLETED)
        dead = first.writer.dead.is_set()
        await first.kill()
        asked_before = len(model.requests)  # it may make requests until it is dead
        playing.cancel()
        dying_wait.cancel()
        await asyncio.wait({playing, dying_wait})
        if not dead:
            assert playing.exception() is None if not playing.cancelled() else False
    performed = len(tool.calls)
    # Read before the second process starts, since that resumes the run at once.
    db = await connect(url)
    before = await read_log(db, thread)
    await db.close()
    async with Process(url, model, tools=[tool]) as second:
        async with asyncio.timeout(WAIT_S):
            await scenario.client(second, thread)
        await _check_end(second, scenario, thread)
        after = await second.log(thread)
        _check_model_calls(before, after, len(model.requests) - asked_before)
        _check_hosted_calls(before, after, tool.calls[performed:], scenario)
    return dead


async def _check_end(process: Process, scenario: Scenario, thread: str) -> None:
    assert (await process.run(thread)).status == scenario.status
    # A message may come before or after the answer of the run at that time, since a client that crashed sends it late.
    assert sorted(texts(await process.messages(thread))) == sorted(scenario.messages)
    assert tuple((step.type, step.status) for step in await process.steps(thread)) == scenario.steps
    async with process.pool.acquire() as db:
        assert await verify(db, thread) == []
        await check_leaves(db)


def _check_model_calls(before: list[RecordedEvent[Any]], after: list[RecordedEvent[Any]], asked: int) -> None:
    """Checks that the new process made each journaled model call once, and none whose end is in the log."""

    def calls(log: list[RecordedEvent[Any]], kind: type[Any]) -> list[tuple[str, int]]:
        return [(entry.event.run_id, entry.event.call) for entry in log if isinstance(entry.event, kind)]

    finished = set(calls(before, e.ModelCallFinished))
    started = calls(after[len(before) :], e.ModelCallStarted)
    assert not finished & set(started)
    # If a cancellation follows at once, a call is journaled and never made.
    stopped = sum(isinstance(entry.event, e.ModelCallStopped) for entry in after)
    assert len(started) - stopped <= asked <= len(started)


def _check_hosted_calls(
    before: list[RecordedEvent[Any]], after: list[RecordedEvent[Any]], performed: list[HostedCall], scenario: Scenario
) -> None:
    """Checks that no finished hosted call is performed again, and that a lost one follows its policy."""
    finished = {entry.event.call_id for entry in before if isinstance(entry.event, e.ToolCallFinished)}
    started = {entry.event.call_id for entry in before if isinstance(entry.event, e.ToolCallStarted)}
    again = [call.id for call in performed]
    assert not finished & set(again)
    open_then = started - finished
    ends = {entry.event.call_id: entry.event for entry in after if isinstance(entry.event, e.ToolCallFinished)}
    # A call that was journaled, and perhaps performed, is repeated as the second attempt, or reported as lost.
    for call_id in open_then:
        lost = scenario.after_crash == "report"
        assert (call_id in again) != lost
        assert (ends[call_id].outcome, ends[call_id].attempt) == (("lost", 1) if lost else ("finished", 2))
    assert all(end.outcome == "finished" for id, end in ends.items() if id not in open_then)
    starts = [entry.event for entry in after[len(before) :] if isinstance(entry.event, e.ToolCallStarted)]
    assert again == [start.call_id for start in starts]


async def test_a_process_killed_in_mid_sentence(database_url: str) -> None:
    """The partial answer is lost. The call is made again as the next attempt, under ids that no client has seen."""
    hold = Hold()
    begun: Script = [[TextDelta("Hel")], hold]
    model = FakeModel(None, begun, says("Hello."))
    async with Process(database_url, model) as first, Process(database_url, model) as second:
        await second.wait_for_peers(first)
        await first.say("t1", "Hi")
        await first.begin("t1")
        await hold.wait()
        promised = next(entry.event for entry in await first.log("t1") if isinstance(entry.event, e.ModelCallStarted))
        await first.kill()
        made = await second.wait_until_settled("t1")
        assert made.status == "completed"
        assert texts(await second.messages("t1")) == [HI, ("assistant", "Hello.")]
        assert (await second.messages("t1"))[-1].id != promised.message_id
        async with second.pool.acquire() as db:
            broken = await placeholders.message(db, "proj_1", "t1", promised.message_id)
        assert (broken.status, broken.incomplete_reason, broken.content) == ("incomplete", "run_failed", [])
        starts = [entry.event for entry in await second.log("t1") if isinstance(entry.event, e.ModelCallStarted)]
        assert [(start.call, start.attempt) for start in starts] == [(1, 1), (1, 2)]


async def test_a_live_peers_runs_are_left_alone(database_url: str) -> None:
    hold = Hold()
    model = FakeModel(None, [hold, *says("Hello.")])
    async with Process(database_url, model) as first, Process(database_url, model) as second:
        await second.wait_for_peers(first)
        await first.say("t1", "Hi")
        await first.begin("t1")
        await hold.wait()
        await second.supervisor._scan()
        assert second.supervisor.active == 0
        hold.opened.set()
        assert (await first.wait_until_settled("t1")).status == "completed"
        assert len(model.requests) == 1


async def test_a_peer_that_has_just_come_is_not_taken_for_dead(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first process reads the list of its peers once, before the second one starts, and gets no notifications.
    monkeypatch.setattr(service.processes.peers, "LOOK_EVERY_S", 3600.0)
    monkeypatch.setattr(service.processes.peers.Peers, "_receive", lambda *_: None)
    hold = Hold()
    model = FakeModel(None, [hold, *says("Hello.")])
    async with Process(database_url, model) as first, Process(database_url, model) as second:
        await second.say("t1", "Hi")
        await second.begin("t1")
        await hold.wait()
        assert second.peers.process not in first.peers.live
        await first.supervisor._scan()
        assert first.supervisor.active == 0
        hold.opened.set()
        assert (await second.wait_until_settled("t1")).status == "completed"
        assert len(model.requests) == 1


@pytest.mark.slow
async def test_a_run_that_kills_its_processes_is_given_up(database_url: str) -> None:
    """The run fails after five attempts, so that it does not kill one process after the other."""
    model = FakeModel(lambda _: [Hold()])
    async with Process(database_url, model) as process:
        await process.say("t1", "Hi")
        await process.begin("t1")
        await model.wait_for_requests(1)
    for attempt in range(2, 6):
        async with Process(database_url, model):
            await model.wait_for_requests(attempt)
    async with Process(database_url, model) as process:
        made = await process.wait_until_settled("t1")
        assert made.last_error is not None
        assert (made.status, made.last_error["message"]) == ("failed", "The model call was broken off 5 times.")
