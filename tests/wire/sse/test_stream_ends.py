"""Streams of runs that end early, break off, or are taken over by another process."""

from __future__ import annotations

from typing import Any

import pytest

from service.deltas import MessageTextDelta
from tests.events.thread.story import (
    break_call,
    cancel,
    expire,
    fail,
    finish,
    start,
    stop,
    take,
    working_run,
)
from tests.wire.sse.shorthand import CALL, COMPLETED, DELTA, MESSAGE, STEP, apply, call, reply_with, text, watch


@pytest.mark.parametrize("live", [[], ["He"], ["He", "llo"]])
def test_cancelled_in_mid_text(live: list[str]) -> None:
    story = working_run()
    watcher = watch(story)
    watcher.see(text(piece) for piece in live)
    assert apply(watcher, story, cancel("in_progress")) == ["thread.run.cancelling"]
    found = apply(watcher, story, stop("Hello"))
    assert found[-4:] == [
        *["thread.message.incomplete", "thread.run.step.cancelled"],
        *["thread.run.cancelled", "done"],
    ]
    message, step = watcher.data("thread.message.incomplete"), watcher.data("thread.run.step.cancelled")
    assert message["incomplete_details"] == {"reason": "run_cancelled"}
    assert message["incomplete_at"] == step["cancelled_at"]
    assert message["content"] == watcher.content("msg_1") == [reply_with("Hello")]


ENDS: dict[str, tuple[str, list[Any], float]] = {
    "cancelled": ("run_cancelled", [cancel("in_progress"), stop()], 0.0),
    "expired": ("run_expired", [expire()], 601.0),
    "failed": ("run_failed", [fail()], 0.0),
}


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("live", [text("Hel"), call(0, "{", "call_1")])
def test_what_was_shown_ends_though_its_process_died(how: str, live: Any) -> None:
    """The process that made the call has died, and no event has the text of its deltas."""
    reason, commands, after = ENDS[how]
    story = working_run()
    watcher = watch(story)
    watcher.see([live])
    for command in commands:
        apply(watcher, story, command, after)
    is_text = isinstance(live, MessageTextDelta)
    assert watcher.names[-3:] == [f"thread.run.step.{how}", f"thread.run.{how}", "done"]
    assert ("thread.message.incomplete" in watcher.names) == is_text
    if is_text:
        message = watcher.data("thread.message.incomplete")
        assert message["incomplete_details"] == {"reason": reason}
        assert message["content"] == [reply_with("Hel")]
    assert (watcher.data(f"thread.run.step.{how}")["last_error"] is not None) == (how == "failed")


@pytest.mark.parametrize(
    ("command", "reason", "ending"),
    [
        (finish("Hello", reason="length"), "max_tokens", ["thread.run.step.completed", "thread.run.incomplete"]),
        (finish("Hello", reason="content_filter"), "content_filter", ["thread.run.step.completed"]),
        (break_call("Hello"), "run_failed", ["thread.run.step.failed"]),
    ],
)
def test_cut_text(command: Any, reason: str, ending: list[str]) -> None:
    story = working_run()
    watcher = watch(story)
    watcher.see([text("Hello")])
    found = apply(watcher, story, command)
    assert found[: 1 + len(ending)] == ["thread.message.incomplete", *ending]
    assert watcher.data("thread.message.incomplete")["incomplete_details"] == {"reason": reason}


def test_a_broken_call_goes_on_in_a_new_message() -> None:
    story = working_run()
    watcher = watch(story)
    watcher.see([text("Hel")])
    apply(watcher, story, break_call("Hel"))
    apply(watcher, story, start("2"))
    watcher.see([text("Hello.", suffix="2")])
    assert apply(watcher, story, finish("Hello.")) == COMPLETED
    assert watcher.ended.keys() == {"msg_1", "step_m1", "msg_2", "step_m2"}


def test_after_a_takeover_the_broken_message_ends_and_the_next_attempt_streams() -> None:
    story = working_run()
    seen, unseen = watch(story), watch(story)
    seen.see([text("Hello, I wa")])
    assert apply(seen, story, take(2, dead=1)) == []
    assert apply(seen, story, start("2", epoch=2)) == ["thread.message.incomplete", "thread.run.step.failed"]
    assert seen.ended["msg_1"]["content"] == [reply_with("Hello, I wa")]
    unseen.see(story.log[-2:])
    late = [text("s here")]
    for watcher in (seen, unseen):
        assert watcher.see(late) == [], "a delta of the dead process"
        assert watcher.see([text("Hi ", suffix="2"), text("there.", suffix="2")]) == [*MESSAGE, DELTA, DELTA]
    known = len(story.log)
    story.do(finish("Hi there.", epoch=2))
    assert seen.see(story.log[known:]) == unseen.see(story.log[known:]) == COMPLETED
    assert seen.data("thread.message.completed") == unseen.data("thread.message.completed")
    assert seen.ended.keys() == {"msg_1", "step_m1", "msg_2", "step_m2"}


def test_after_a_takeover_a_broken_tool_call_ends_and_the_next_attempt_streams() -> None:
    story = working_run()
    watcher = watch(story)
    watcher.see([call(0, '{"city', "call_1")])
    apply(watcher, story, take(2, dead=1))
    assert apply(watcher, story, start("2", epoch=2)) == ["thread.run.step.failed"]
    assert watcher.see([call(0, "{}", "call_2", suffix="2")]) == [*STEP, CALL, CALL]
    assert apply(watcher, story, finish("", "call_2", epoch=2)) == ["thread.run.requires_action", "done"]
