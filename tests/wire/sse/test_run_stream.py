"""Streams of runs: the frames of deltas and of events, and their order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from events.envelope import RecordedEvent
from events.object_changes import initial_run, initial_step, run_patch
from events.objects import Run, Step
from events.thread import events as e
from events.thread.commands import CreateRun, FinishModelCall, PartialReply, StopRun
from service.wire import v1, v2
from service.wire.api import Wire
from service.wire.sse.run_stream import RunStream
from tests.events.thread.story import (
    CREATE,
    LIFETIME,
    NOTHING,
    SETTINGS,
    USAGE,
    Story,
    add,
    claim,
    finish,
    given,
    run,
    run_awaiting_outputs,
    submit,
    working_run,
)
from tests.wire.sse.shorthand import (
    BEGIN,
    CALL,
    COMPLETED,
    DELTA,
    MESSAGE,
    STEP,
    apply,
    call,
    message_texts,
    reply_with,
    text,
    watch,
)
from tests.wire.sse.stream_rules import Watcher


def test_text_live() -> None:
    story = working_run()
    watcher = watch(story)
    assert watcher.names == BEGIN
    assert watcher.see([text("Hel")]) == [*MESSAGE, DELTA]
    assert watcher.see([text("lo"), text(".")]) == [DELTA, DELTA]
    assert apply(watcher, story, finish("Hello.")) == COMPLETED
    assert message_texts(watcher) == ["Hel", "lo", "."]
    first, second, _ = (part["delta"]["content"][0]["text"] for event, part in watcher.frames if event == DELTA)
    assert (first, second) == ({"value": "Hel", "annotations": []}, {"value": "lo"})


def test_text_of_events_alone_is_one_delta() -> None:
    story = working_run()
    watcher = watch(story)
    assert apply(watcher, story, finish("Hello.")) == [*MESSAGE, DELTA, *COMPLETED]
    assert message_texts(watcher) == ["Hello."]


def test_the_end_of_a_text_that_was_shown_in_part() -> None:
    story = working_run()
    watcher = watch(story)
    watcher.see([text("Hel")])
    assert apply(watcher, story, finish("Hello.")) == [DELTA, *COMPLETED]
    assert message_texts(watcher) == ["Hel", "lo."]


def test_pieces_behind_their_event_are_stale() -> None:
    story = working_run()
    watcher = watch(story)
    known = len(story.log)
    story.do(finish("Hello.", "call_1"))
    assert isinstance(story.log[-1].event, e.RunRequiresAction)
    watcher.see([text("Hel"), *story.log[known:-1]])
    assert watcher.see([text("lo."), text("no", refusal=True), call(0, "{}", "call_1")]) == []


def test_frames_carry_their_place() -> None:
    story = working_run()
    watcher = watch(story)
    version = len(story.log)
    watcher.see([text("Hel"), text("lo")])
    apply(watcher, story, finish("Hello."))
    lines = [frame.split(b"\n")[0].decode() for frame in watcher.raw]
    created = story.log[1].version
    assert lines[:3] == [f"id: {created - 1}.1", f"id: {created}.0", f"id: {version - 1}.0"]
    opening = [f"id: {version}.{number}.m" for number in (1, 2, 3, 4)]
    assert lines[3:9] == [*opening, f"id: {version}.0.m3", f"id: {version}.0.m5"]
    written = version + 3
    assert lines[9:12] == [f"id: {written - 1}.1.m5", f"id: {written}.0", f"id: {written + 1}.0"]
    assert lines[12:] == [f"id: {written + 1}.1", f"id: {written + 2}.0"]


def test_function_calls_live() -> None:
    story = working_run()
    watcher = watch(story)
    live = [call(0, "", "call_1"), call(0, "{"), call(0, "}"), call(1, "{}", "call_2")]
    assert watcher.see(live) == [*STEP, *[CALL] * 5]
    assert apply(watcher, story, finish("", "call_1", "call_2")) == ["thread.run.requires_action", "done"]
    deltas = [d["delta"]["step_details"]["tool_calls"][0] for event, d in watcher.frames if event == CALL]
    function = {"name": "weather", "arguments": "", "output": None}
    assert watcher.calls["step_t1"] == {
        0: {"id": "call_1", "type": "function", "function": {**function, "arguments": "{}"}},
        1: {"id": "call_2", "type": "function", "function": {**function, "arguments": "{}"}},
    }
    assert deltas[1] == {"index": 0, "type": "function", "function": {"arguments": "{"}}


def test_function_calls_of_events_alone() -> None:
    story = working_run()
    watcher = watch(story)
    found = apply(watcher, story, finish("", "call_1", "call_2"))
    assert found == [*STEP, *[CALL] * 4, "thread.run.requires_action", "done"]
    assert [one["function"]["arguments"] for one in watcher.calls["step_t1"].values()] == ["{}", "{}"]


def test_text_then_function_calls() -> None:
    story = working_run()
    watcher = watch(story)
    watcher.see([text("Let me look.")])
    assert apply(watcher, story, finish("Let me look.", "call_1")) == [
        *["thread.message.completed", "thread.run.step.completed"],
        *[*STEP, CALL, CALL],
        *["thread.run.requires_action", "done"],
    ]


def test_text_behind_live_function_calls_opens_no_second_step() -> None:
    story = working_run()
    watcher = watch(story)
    watcher.see([call(0, "{}", "call_1")])
    assert apply(watcher, story, finish("By the way.", "call_1")) == ["thread.run.requires_action", "done"]


def _before_outputs(story: Story) -> tuple[Run, Step]:
    log: list[RecordedEvent[Any]] = list(story.log)
    run_ = next(initial_run(entry) for entry in log if isinstance(entry.event, e.RunCreated))
    for entry in log:
        run_ = replace(run_, **(run_patch(entry) or {}))
    return run_, next(initial_step(entry) for entry in log if isinstance(entry.event, e.StepCreated))


@pytest.mark.parametrize("wire", [v1.WIRE, v2.WIRE])
def test_tool_outputs(wire: Wire) -> None:
    story = run_awaiting_outputs("call_1", "call_2")
    run_, step = _before_outputs(story)
    watcher = Watcher(RunStream(wire, run=run_, steps=[step]))
    found = apply(watcher, story, submit("call_2", "call_1", claim=claim(first="2")), after=3)
    assert found == ["thread.run.step.completed", "thread.run.queued", "thread.run.in_progress"]
    step_ = watcher.data("thread.run.step.completed")
    outputs = [one["function"]["output"] for one in step_["step_details"]["tool_calls"]]
    assert outputs == ["out call_1", "out call_2"]
    assert step_["usage"]["total_tokens"] == 15
    queued, begun = watcher.data("thread.run.queued"), watcher.data("thread.run.in_progress")
    assert queued["required_action"] is None
    assert begun["started_at"] == queued["started_at"] + 3
    assert begun["expires_at"] == queued["expires_at"]
    assert apply(watcher, story, finish("Sunny.", epoch=2)) == [*MESSAGE, DELTA, *COMPLETED]


def test_thread_and_run_in_one() -> None:
    story = Story()
    story.do(CreateRun("run_1", SETTINGS, (), LIFETIME, claim(), CREATE))
    assert Watcher(RunStream(v2.WIRE)).see(story.log) == ["thread.created", *BEGIN]


def _refusal_story(said: PartialReply) -> FinishModelCall:
    return FinishModelCall("run_1", 1, said, "stop", "m-1", USAGE)


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("before", ["", "Well. "])
def test_refusals(live: bool, before: str) -> None:
    story = working_run()
    watcher = watch(story)
    pieces = [text(before)] * bool(before) + [text("I ", refusal=True), text("won't.", refusal=True)]
    watcher.see(pieces if live else [])
    apply(watcher, story, _refusal_story(PartialReply(text=before, refusal="I won't.")))
    content = [reply_with(before)] * bool(before) + [{"type": "refusal", "refusal": "I won't."}]
    assert watcher.content("msg_1") == content == watcher.data("thread.message.completed")["content"]


@pytest.mark.parametrize("live", [True, False])
def test_v1_tells_a_refusal_as_text(live: bool) -> None:
    story = working_run()
    watcher = watch(story, v1.WIRE)
    watcher.see([text("I ", refusal=True), text("won't.", refusal=True)] if live else [])
    apply(watcher, story, _refusal_story(PartialReply(refusal="I won't.")))
    assert watcher.content("msg_1") == [reply_with("I won't.")] == watcher.data("thread.message.completed")["content"]


def test_v1_knows_no_incomplete_run() -> None:
    story = working_run()
    watcher = watch(story, v1.WIRE)
    apply(watcher, story, finish("Hello", reason="length"))
    assert watcher.names[-2:] == ["thread.run.completed", "done"]
    run_ = watcher.data("thread.run.completed")
    assert (run_["status"], run_["incomplete_details"]) == ("completed", {"reason": "max_completion_tokens"})


def test_other_runs_are_not_shown() -> None:
    story = given(CREATE, run(claim=claim()), finish("Hello."), add("Again"))
    story.do(run("run_2", claim=claim(first="2")))
    watcher = watch(story)
    assert watcher.names == [*BEGIN, *MESSAGE, DELTA, *COMPLETED]
    second = Watcher(RunStream(v2.WIRE))
    created = next(entry for entry in story.log if isinstance(entry.event, e.RunCreated) and entry.version > 5)
    second.see(story.log[created.version - 1 :])
    assert second.names == BEGIN
    assert second.see([text("Hello.")]) == []
    assert second.see([text("Hello.", run_id="run_2", suffix="2")]) == [*MESSAGE, DELTA]


def test_an_error_ends_the_stream() -> None:
    watcher = watch(working_run())
    frame = watcher.stream.error_frame("It broke.", "server_error", None)
    assert frame == (
        b'event: error\ndata: {"error":{"message":"It broke.","type":"server_error","param":null,"code":null}}\n\n'
    )
    assert watcher.stream.is_finished
    assert watcher.see([text("Hello.")]) == []


def test_text_of_any_kind_is_whole() -> None:
    story = working_run()
    watcher = watch(story)
    pieces = ['"', "\\", "\n\n", "event: done", "\x7f\u2028", "🎉", "ü", "\r\n"]
    watcher.see(text(piece) for piece in pieces)
    apply(watcher, story, finish("".join(pieces)))
    assert message_texts(watcher) == pieces


def test_nothingsaid() -> None:
    story = working_run()
    watcher = watch(story)
    assert apply(watcher, story, StopRun("run_1", 1, PartialReply(), NOTHING)) == []
    assert apply(watcher, story, finish("")) == [*MESSAGE, *COMPLETED]
