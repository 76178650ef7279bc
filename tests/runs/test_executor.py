"""Runs from end to end below HTTP: executor and supervisor over a real Postgres, with a fake model."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, cast

import pytest

from events.envelope import RecordedEvent
from events.errors import NotFound
from events.object_changes import initial_run
from events.thread.commands import DeleteThread
from events.thread.events import RunCreated
from projections.rebuild import verify
from service.deltas import MessageTextDelta
from service.feed import tail
from service.model.base import ModelError, ModelStreamEnd, TextDelta, ToolCallDelta
from service.runs import supervisor
from service.runs.executor import Executor
from service.runs.paused_runs import PausedRuns
from tests.clock import WallClock
from tests.events.thread.story import CREATE, FUNCTION, given, run
from tests.runs.fake_model import USAGE, WAIT_S, FakeModel, Hold, Script, asks, says
from tests.runs.process import CountingWriter, Process, texts

THREAD = "t1"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "RETRY_AFTER_S", 0.01)


BREAKS: Script = [[TextDelta("Hel")], ModelError("server_error", "The connection broke.")]


async def turn(process: Process, **settings: Any) -> Any:
    await process.say(THREAD, "Hi")
    await process.begin(THREAD, **settings)
    return await process.wait_until_settled(THREAD)


async def test_a_plain_turn_is_two_appends(database_url: str) -> None:
    async with Process(database_url, FakeModel(None, says("Hel", "lo."))) as process:
        made = await turn(process)
        assert made.status == "completed"
        assert made.usage == {"prompt_tokens": 10, "completion_tokens": 5, "cached_tokens": 0, "reasoning_tokens": 0}
        assert isinstance(process.writer, CountingWriter)
        assert process.writer.appends[2:] == [
            ["run.created", "run.claimed", "run.started", "model_call.started"],
            ["model_call.finished", "step.created", "message.written", "step.ended", "run.completed"],
        ]
        assert texts(await process.messages(THREAD)) == [("user", "Hi"), ("assistant", "Hello.")]
        (request,) = process.model.requests
        assert [(m["role"], m["content"]) for m in request.messages] == [("system", "Be brief."), ("user", "Hi")]
        await process.log(THREAD)


async def test_watchers_see_the_text_as_it_comes_and_then_its_events(database_url: str) -> None:
    hold = Hold()
    async with Process(database_url, FakeModel(None, [[TextDelta("Hel")], hold, *says("lo.")])) as process:
        await process.say(THREAD, "Hi")
        with process.feed.watch(THREAD) as watcher:
            await process.begin(THREAD)
            await hold.wait()
            items: list[Any] = []
            async with asyncio.timeout(WAIT_S):
                async for found in tail(watcher, process.pool, after=2):
                    items += found
                    if isinstance(items[-1], MessageTextDelta):
                        hold.opened.set()
                    elif items[-1].event.type == "run.completed":
                        break
        live = [item for item in items if isinstance(item, MessageTextDelta)]
        assert [item.text for item in live] == ["Hel", "lo."]
        written = next(entry.event for entry in await process.log(THREAD) if entry.event.type == "message.written")
        assert {item.message_id for item in live} == {written.message_id}
        assert items.index(live[0]) == 4  # after created, claimed, started, model_call.started


async def test_a_run_that_continues_is_not_read_again(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Executor, "_load_run", None)
    async with Process(database_url, FakeModel(None, asks("weather"), says("Sunny."))) as process:
        made = await turn(process, tools=({**FUNCTION},))
        assert made.status == "requires_action"
        await process.answer(made)
        assert (await process.wait_until_settled(THREAD)).status == "completed"


def test_the_paused_runs_are_bounded() -> None:
    paused = PausedRuns(max_bytes=100_000)
    story = given(CREATE, run(instructions="x" * 1_000))
    created = next(entry for entry in story.log if isinstance(entry.event, RunCreated))
    made = initial_run(cast(RecordedEvent[RunCreated], created))
    for number in range(50):
        paused.put(replace(made, id=f"run_{number}"))
    assert paused.bytes <= 100_000
    assert paused.take("run_0") is None
    assert paused.take("run_49") is not None
    for number in range(50):
        paused.take(f"run_{number}")
    assert paused.bytes == 0


async def test_a_tool_turn(database_url: str) -> None:
    tools = ({**FUNCTION}, {"type": "function", "function": {"name": "time"}})
    async with Process(database_url, FakeModel(None, asks("weather", "time"), says("Sunny."))) as process:
        made = await turn(process, tools=tools, tool_choice="required")
        assert made.status == "requires_action"
        assert [call["function"]["name"] for call in made.required_calls] == ["weather", "time"]
        assert process.supervisor.active == 0
        await process.answer(made)
        made = await process.wait_until_settled(THREAD)
        assert (made.status, made.required_calls) == ("completed", None)
        assert made.usage is not None
        assert made.usage["prompt_tokens"] == 20
        first, second = process.model.requests
        assert (first.tool_choice, second.tool_choice) == ("required", "auto")
        assert [m["role"] for m in second.messages] == ["system", "user", "assistant", "tool", "tool"]
        calls, outputs = second.messages[2]["tool_calls"], second.messages[3:]
        assert [call["id"] for call in calls] == [output["tool_call_id"] for output in outputs]
        assert [call["function"]["arguments"] for call in calls] == ['{"a":1}', '{"a":1}']
        assert [(s.type, s.status) for s in await process.steps(THREAD)] == [
            ("tool_calls", "completed"),
            ("message_creation", "completed"),
        ]
        await process.log(THREAD)


async def test_cancelling_stops_the_model_call(database_url: str) -> None:
    hold = Hold()
    async with Process(database_url, FakeModel(None, [[TextDelta("Hel")], hold])) as process:
        await process.say(THREAD, "Hi")
        await process.begin(THREAD)
        await hold.wait()
        await process.cancel(await process.run(THREAD))
        await process.model.wait_for_stop()
        made = await process.wait_until_settled(THREAD)
        assert made.status == "cancelled"
        last = (await process.messages(THREAD))[-1]
        assert (last.status, last.incomplete_reason, last.content[0]["text"]["value"]) == (
            "incomplete",
            "run_cancelled",
            "Hel",
        )
        await process.log(THREAD)


async def test_a_cancel_through_another_process_stops_it_too(database_url: str) -> None:
    hold = Hold()
    async with (
        Process(database_url, FakeModel(None, [[TextDelta("Hel")], hold])) as one,
        Process(database_url, FakeModel(None)) as two,
    ):
        await one.wait_for_peers(two)
        await two.wait_for_peers(one)
        await one.say(THREAD, "Hi")
        await one.begin(THREAD)
        await hold.wait()
        await two.cancel(await two.run(THREAD))
        await one.model.wait_for_stop()
        assert (await two.wait_until_settled(THREAD)).status == "cancelled"


async def test_deleting_the_thread_stops_the_model_call(database_url: str) -> None:
    hold = Hold()
    async with Process(database_url, FakeModel(None, [[TextDelta("Hel")], hold])) as process:
        await process.say(THREAD, "Hi")
        await process.begin(THREAD)
        await hold.wait()
        await process.do(THREAD, DeleteThread())
        await process.model.wait_for_stop()
        with pytest.raises(NotFound):
            await process.run(THREAD)
        assert (await process.log(THREAD))[-1].event.type == "thread.deleted"


@pytest.mark.parametrize("said", ["", "Hel"])
@pytest.mark.usefixtures("frequent_scans")
async def test_a_run_expires_in_the_middle_of_its_call(database_url: str, said: str, wall: WallClock) -> None:
    hold = Hold()
    script: Script = [[TextDelta(said)], hold] if said else [hold]
    async with Process(database_url, FakeModel(None, script), clock=wall) as process:
        await process.say(THREAD, "Hi")
        await process.begin(THREAD, lifetime=300)
        await hold.wait()
        wall.skip(300)
        made = await process.wait_until_settled(THREAD)
        assert (made.status, process.model.closed) == ("expired", 1)
        state = "ended" if said else "begun"
        message = f"The run expired 300 s after it had called the model: the model server's answer had not {state}."
        assert made.last_error == {"code": "server_error", "message": message}
        if said:
            last = (await process.messages(THREAD))[-1]
            assert (last.status, last.incomplete_reason) == ("incomplete", "run_expired")
        await process.log(THREAD)


@pytest.mark.usefixtures("frequent_scans")
async def test_a_run_expires_while_it_waits_for_its_client(database_url: str, wall: WallClock) -> None:
    async with Process(database_url, FakeModel(None, asks("weather")), clock=wall) as process:
        await process.say(THREAD, "Hi")
        await process.begin(THREAD, lifetime=300, tools=(FUNCTION,))
        assert (await process.wait_until_settled(THREAD)).status == "requires_action"
        wall.skip(300)
        await process.wait_for(THREAD, lambda state: state.run is None)
        made = await process.run(THREAD)
        assert (made.status, made.required_calls) == ("expired", None)
        assert [step.status for step in await process.steps(THREAD)] == ["expired"]


async def test_overdue_runs_expire_first_when_a_process_starts(database_url: str) -> None:
    async with Process(database_url, FakeModel(None), max_runs=0) as process:
        await process.say(THREAD, "Hi")
        await process.begin(THREAD, lifetime=0)
    async with Process(database_url, FakeModel(None)) as process:
        made = await process.wait_until_settled(THREAD)
        assert (made.status, process.model.requests) == ("expired", [])


@pytest.mark.slow
@pytest.mark.parametrize("code", ["rate_limit_exceeded", "server_error", "invalid_prompt"])
async def test_an_error_of_the_model_fails_the_run(database_url: str, code: Any) -> None:
    async with Process(database_url, FakeModel(None, [ModelError(code, "The real cause.")])) as process:
        made = await turn(process)
        assert (made.status, made.last_error) == ("failed", {"code": code, "message": "The real cause."})
        assert texts(await process.messages(THREAD)) == [("user", "Hi")]


async def test_a_break_in_mid_message_goes_on_in_a_new_one(database_url: str) -> None:
    async with Process(database_url, FakeModel(None, BREAKS, says("Hello."))) as process:
        made = await turn(process)
        assert made.status == "completed"
        _, lost, whole = await process.messages(THREAD)
        assert (lost.status, lost.incomplete_reason, lost.content[0]["text"]["value"]) == (
            "incomplete",
            "run_failed",
            "Hel",
        )
        assert (whole.status, whole.content[0]["text"]["value"]) == ("completed", "Hello.")
        assert lost.id != whole.id
        assert [step.status for step in await process.steps(THREAD)] == ["failed", "completed"]
        # The prompt does not hold the text of the broken call.
        assert process.model.requests[0].messages == process.model.requests[1].messages
        await process.log(THREAD)


@pytest.mark.slow
async def test_a_model_that_always_breaks_ends_the_run(database_url: str) -> None:
    async with Process(database_url, FakeModel(lambda _: BREAKS)) as process:
        made = await turn(process)
        assert (made.status, made.last_error["message"]) == ("failed", "The connection broke.")
        assert len(process.model.requests) == 3


async def test_a_tool_without_machinery_fails_the_run(database_url: str) -> None:
    async with Process(database_url, FakeModel(None)) as process:
        made = await turn(process, tools=({"type": "code_interpreter"}, FUNCTION))
        assert made.status == "failed"
        assert "no machinery for tools of type 'code_interpreter'" in made.last_error["message"]
        assert process.model.requests == []


async def test_a_completion_budget_goes_down_from_call_to_call(database_url: str) -> None:
    async with Process(database_url, FakeModel(None, asks("weather"), says("Sun", reason="length"))) as process:
        await process.answer(await turn(process, tools=(FUNCTION,), max_completion_tokens=300))
        made = await process.wait_until_settled(THREAD)
        assert (made.status, made.incomplete_reason) == ("incomplete", "max_completion_tokens")
        assert [request.max_completion_tokens for request in process.model.requests] == [300, 295]
        assert [m.status for m in await process.messages(THREAD)] == ["completed", "incomplete"]


@pytest.mark.parametrize(("budget", "value"), [("max_completion_tokens", 5), ("max_prompt_tokens", 10)])
async def test_a_used_up_budget_ends_the_run_before_its_next_call(database_url: str, budget: str, value: int) -> None:
    model = FakeModel(None, asks("weather"))
    async with Process(database_url, model) as process:
        # The instructions would exceed so small a budget.
        small: dict[str, Any] = {budget: value, "instructions": None}
        made = await turn(process, tools=(FUNCTION,) if budget == "max_completion_tokens" else (), **small)
        await process.answer(made)
        made = await process.wait_until_settled(THREAD)
        assert (made.status, made.incomplete_reason, len(model.requests)) == ("incomplete", budget, 1)
        await process.log(THREAD)


async def test_a_prompt_that_does_not_fit(database_url: str) -> None:
    async with Process(database_url, FakeModel(None)) as process:
        process.model.window = 16
        made = await turn(process)
        assert (made.status, made.last_error["code"]) == ("failed", "invalid_prompt")
        made = None
        await process.begin(THREAD, run_id="run_2", max_prompt_tokens=5)
        made = await process.wait_until_settled(THREAD, "run_2")
        assert (made.status, made.incomplete_reason) == ("incomplete", "max_prompt_tokens")
        assert process.model.requests == []
        await process.log(THREAD)


async def test_usage_is_counted_where_the_upstream_gives_none(database_url: str) -> None:
    async with Process(database_url, FakeModel(None, says("Hello.", usage=None))) as process:
        made = await turn(process)
        # A token is a character, and each message has 4 more tokens.
        assert made.usage["completion_tokens"] == len("Hello.")
        assert made.usage["prompt_tokens"] == len("Be brief.") + len("Hi") + 8


@pytest.mark.slow
async def test_what_is_unforeseen_fails_the_run_and_nothing_else(database_url: str) -> None:
    async with Process(database_url, FakeModel(None, [ValueError("What?")], says("Hello."))) as process:
        made = await turn(process)
        assert (made.status, made.last_error["code"]) == ("failed", "server_error")
        assert "ValueError: What?" in made.last_error["message"]
        await process.begin(THREAD, run_id="run_2")
        assert (await process.wait_until_settled(THREAD, "run_2")).status == "completed"


async def test_text_and_calls_in_one_reply(database_url: str) -> None:
    script: Script = [
        [TextDelta("Let me look."), ToolCallDelta(0, "x", "weather", "{}")],
        [ModelStreamEnd("tool_calls", USAGE, "m")],
    ]
    async with Process(database_url, FakeModel(None, script, says("Sunny."))) as process:
        await process.answer(await turn(process, tools=(FUNCTION,)))
        assert (await process.wait_until_settled(THREAD)).status == "completed"
        # The calls belong to the message that they arrived with.
        assert [m["role"] for m in process.model.requests[1].messages] == ["system", "user", "assistant", "tool"]
        async with process.pool.acquire() as db:
            assert await verify(db, THREAD) == []
        await process.log(THREAD)


async def test_a_budget_that_a_broken_attempt_used_up_ends_the_run(database_url: str) -> None:
    """The upstream gets no negative budget: tokens that clients saw count."""
    long: Script = [[TextDelta("word " * 400)], ModelError("server_error", "The connection broke.")]
    async with Process(database_url, FakeModel(lambda _: long)) as process:
        made = await turn(process, max_completion_tokens=256)
        assert (made.status, made.incomplete_reason) == ("incomplete", "max_completion_tokens")
        assert len(process.model.requests) == 1
