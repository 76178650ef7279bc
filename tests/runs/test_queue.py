"""Runs that wait for other runs of their thread, and the history that each of them reads."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from events.thread.commands import DeleteMessage, DeleteThread
from projections.rebuild import verify
from service.model.base import ChatRequest
from service.runs import history
from tests.clock import WallClock
from tests.events.thread.story import FUNCTION
from tests.runs.fake_model import FakeModel, Hold, Script, asks, says
from tests.runs.process import Process, texts

T = "t1"


def prompt_texts(request: ChatRequest) -> list[Any]:
    """Returns the texts of the prompt, without the instructions."""
    return [message["content"] for message in request.messages[1:]]


async def line_up(process: Process, hold: Hold) -> None:
    """Lets run_t1 answer "Hi" up to `hold`, and meanwhile adds "And?" and run_2, "So?" and run_3, and "Last."."""
    await process.say(T, "Hi")
    await process.begin(T)
    await hold.wait()
    await process.add(T, "And?", "msg_2")
    await process.begin(T, run_id="run_2", queue=True)
    await process.add(T, "So?", "msg_3")
    await process.begin(T, run_id="run_3", queue=True)
    await process.add(T, "Last.", "msg_4")


def numbered_scripts(hold: Hold) -> FakeModel:
    return FakeModel(None, [hold, *says("One.")], says("Two."), says("Three."))


async def test_each_run_reads_what_was_said_before_it_and_what_was_answered(database_url: str) -> None:
    hold = Hold()
    async with Process(database_url, numbered_scripts(hold)) as process:
        await line_up(process, hold)
        waiting = await process.run(T, "run_2")
        assert (waiting.status, waiting.expires_at, waiting.started_at) == ("queued", None, None)
        assert texts(await process.messages(T))[-1] == ("user", "Last."), "it lists at once"
        hold.opened.set()
        assert (await process.wait_for_end(T, "run_3")).status == "completed"
        assert [prompt_texts(request) for request in process.model.requests] == [
            ["Hi"],
            ["Hi", "One.", "And?"],
            ["Hi", "One.", "And?", "Two.", "So?"],
        ]
        async with process.pool.acquire() as db:
            assert await verify(db, T) == []
        appends = [append for append in process.writer.appends if "run.admitted" in append]  # type: ignore[attr-defined]
        assert [append[-3:] for append in appends] == [["run.completed", "run.admitted", "run.claimed"]] * 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
async def test_queued_is_as_if_everybody_had_waited(database_url: str, seed: int) -> None:
    """The model gets the same prompts if all messages are sent at once as if the client waits for each answer."""
    random = Random(seed)
    moves = [random.choice(("say", "say", "run")) for _ in range(12)]

    async def play(thread: str, model: FakeModel, hold: Hold | None) -> list[list[Any]]:
        async with Process(database_url, model) as process:
            await process.say(thread, "Begin.")
            await process.begin(thread, run_id=f"run_{thread}_first")
            if hold is not None:
                await hold.wait()
            last = f"run_{thread}_first"
            for number, move in enumerate(moves):
                if hold is None:
                    await process.wait_for_end(thread, last)
                if move == "say":
                    await process.add(thread, f"Line {number}.", f"msg_{thread}_{number}")
                else:
                    last = f"run_{thread}_{number}"
                    await process.begin(thread, run_id=last, queue=True)
            if hold is not None:
                hold.opened.set()
            await process.wait_for_end(thread, last)
            return [prompt_texts(request) for request in model.requests]

    def answering(hold: Hold | None) -> FakeModel:
        def answer(request: ChatRequest) -> Script:
            said = says(f"Answer {len(model.requests)}.")
            return [hold, *said] if hold is not None and len(model.requests) == 1 else said

        model = FakeModel(answer)
        return model

    hold = Hold()
    assert await play("file", answering(None), None) == await play("crowd", answering(hold), hold)


async def test_later_calls_of_a_run_leave_out_what_came_meanwhile(database_url: str) -> None:
    model = FakeModel(None, asks("weather"), says("Sunny."), says("Monday."))
    async with Process(database_url, model) as process:
        await process.say(T, "Weather?")
        await process.begin(T, tools=(FUNCTION,))
        run = await process.wait_until_settled(T)
        await process.add(T, "And the day?", "msg_2")
        await process.begin(T, run_id="run_2", queue=True)
        await process.answer(run)
        await process.wait_for_end(T, "run_2")
        assert prompt_texts(model.requests[1]) == ["Weather?", None, "out call_" + run.required_calls[0]["id"][5:]]  # type: ignore[index]
        assert prompt_texts(model.requests[2])[2:] == [prompt_texts(model.requests[1])[2], "Sunny.", "And the day?"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("newest", "expected"), [(1, ["So?"]), (2, ["Two.", "So?"]), (4, ["One.", "And?", "Two.", "So?"])]
)
@pytest.mark.parametrize("page", [1, 200])
async def test_the_newest_messages_are_those_of_the_conversation(
    database_url: str, newest: int, expected: list[str], page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "PAGE", page)
    hold = Hold()
    async with Process(database_url, numbered_scripts(hold)) as process:
        strategy = {"type": "last_messages", "last_messages": newest}
        await process.say(T, "Hi")
        await process.begin(T)
        await hold.wait()
        await process.add(T, "And?", "msg_2")
        await process.begin(T, run_id="run_2", queue=True)
        await process.add(T, "So?", "msg_3")
        await process.begin(T, run_id="run_3", queue=True, truncation_strategy=strategy)
        await process.add(T, "Last.", "msg_4")
        hold.opened.set()
        await process.wait_for_end(T, "run_3")
        assert prompt_texts(process.model.requests[-1]) == expected


async def test_a_conversation_longer_than_any_window_keeps_its_first_message(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first message is the answer of a run on an empty thread, though another message precedes it in the log."""
    monkeypatch.setattr(history, "PAGE", 1)
    hold = Hold()
    async with Process(database_url, numbered_scripts(hold)) as process:
        await process.say(T, "Hi")
        await process.do(T, DeleteMessage(f"msg_{T}", "user"))
        await process.begin(T)
        await hold.wait()
        await process.add(T, "And?", "msg_2")
        await process.begin(T, run_id="run_2", queue=True)
        await process.add(T, "So?", "msg_3")
        await process.begin(T, run_id="run_3", queue=True)
        hold.opened.set()
        run = await process.wait_for_end(T, "run_3")
        async with process.pool.acquire() as db:
            entries, is_whole = await history.load_entries(db, run, window=0)
        assert [entry.content[0]["text"]["value"] for _, entry in entries] == ["One.", "Three."]  # type: ignore[union-attr]
        assert not is_whole


async def test_a_message_deleted_while_it_was_queued_is_never_read(database_url: str) -> None:
    hold = Hold()
    async with Process(database_url, numbered_scripts(hold)) as process:
        await line_up(process, hold)
        await process.do(T, DeleteMessage("msg_2", "user"))
        hold.opened.set()
        await process.wait_for_end(T, "run_3")
        assert prompt_texts(process.model.requests[1]) == ["Hi", "One."]


async def test_cancelled_while_it_waited(database_url: str) -> None:
    hold = Hold()
    async with Process(database_url, FakeModel(None, [hold, *says("One.")], says("Three."))) as process:
        await line_up(process, hold)
        await process.cancel(await process.run(T, "run_2"))
        cancelled = await process.run(T, "run_2")
        assert (cancelled.status, cancelled.expires_at, cancelled.usage is not None) == ("cancelled", None, True)
        hold.opened.set()
        await process.wait_for_end(T, "run_3")
        # The message that was added for the run stays in the thread.
        assert prompt_texts(process.model.requests[1]) == ["Hi", "One.", "And?", "So?"]


async def test_the_thread_is_deleted(database_url: str) -> None:
    hold = Hold()
    async with Process(database_url, numbered_scripts(hold)) as process:
        await line_up(process, hold)
        await process.do(T, DeleteThread())
        await process.model.wait_for_stop()
        await process.log(T)
        assert len(process.model.requests) == 1


@pytest.mark.usefixtures("frequent_scans")
async def test_the_time_of_a_run_begins_when_its_turn_comes(database_url: str, wall: WallClock) -> None:
    """The first run expires while it waits for its client. A scan ends it, and starts the second."""
    async with Process(database_url, FakeModel(None, asks("weather"), says("Two.")), clock=wall) as process:
        await process.say(T, "Hi")
        first = await process.begin(T, tools=(FUNCTION,), lifetime=300)
        begun = wall.now().timestamp()
        assert (await process.wait_until_settled(T)).status == "requires_action"
        await process.begin(T, run_id="run_2", queue=True, lifetime=600)
        wall.skip(300)
        state = await process.wait_for(T, lambda state: state.run is not None and state.run.id == "run_2")
        assert state.run is not None
        assert state.run.expires_at >= int(begun) + 300 + 600 - 1
        assert (await process.wait_for_end(T, "run_2")).status == "completed"
        assert (await process.run(T, first.id)).status == "expired"


async def test_who_takes_the_first_over_goes_on_with_the_next(database_url: str) -> None:
    hold = Hold()
    model = FakeModel(None, [hold], says("One."), says("Two."), says("Three."))
    async with Process(database_url, model) as one, Process(database_url, model) as two:
        await two.wait_for_peers(one)
        await line_up(one, hold)
        await one.kill()
        assert (await two.wait_for_end(T, "run_3")).status == "completed"
        assert [prompt_texts(request) for request in model.requests[1:]] == [
            ["Hi"],
            ["Hi", "One.", "And?"],
            ["Hi", "One.", "And?", "Two.", "So?"],
        ]
        claims = [entry.event for entry in await two.log(T) if entry.event.type == "run.claimed"]
        assert [claim.process for claim in claims[1:]] == [two.peers.process] * 3


async def test_a_run_queued_elsewhere_goes_to_the_process_at_work(database_url: str) -> None:
    hold = Hold()
    model = FakeModel(None, [hold, *says("One.")], says("Two."))
    async with Process(database_url, model) as one, Process(database_url, model) as two:
        await one.wait_for_peers(two)
        await one.say(T, "Hi")
        await one.begin(T)
        await hold.wait()
        await two.add(T, "And?", "msg_2")
        await two.begin(T, run_id="run_2", queue=True)
        await two.supervisor._scan()
        assert two.supervisor.active == 0, "what waits is nobody's to claim"
        hold.opened.set()
        assert (await two.wait_for_end(T, "run_2")).status == "completed"
        claims = [entry.event for entry in await one.log(T) if entry.event.type == "run.claimed"]
        assert [claim.process for claim in claims] == [one.peers.process] * 2
