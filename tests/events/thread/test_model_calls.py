"""Model calls as executors report them: all kinds of ends, broken attempts, takeovers, budgets."""

from __future__ import annotations

from typing import Any

import pytest

from events.errors import StaleClaim
from events.thread import events as e
from events.thread.commands import ExhaustRun, FinishModelCall, PartialReply, ThreadCommand
from tests.events.thread.story import (
    CREATE,
    ERROR,
    NOTHING,
    USAGE,
    Story,
    break_call,
    cancel,
    claim,
    fail,
    finish,
    given,
    ids,
    queued_run,
    run,
    run_awaiting_outputs,
    single_event,
    start,
    submit,
    take,
    types_of,
    working_run,
)

MESSAGE = ["step.created", "message.written", "step.ended"]


def steps(events: list[e.ThreadEvent]) -> list[tuple[str, str]]:
    """Returns (kind, status) of the steps in these events."""
    ended = {event.step_id: event.status for event in events if isinstance(event, e.StepEnded)}
    created = [event for event in events if isinstance(event, e.StepCreated)]
    return [(step.kind, ended.get(step.step_id, "in_progress")) for step in created]


def test_a_plain_turn_is_two_appends() -> None:
    story = given(CREATE)
    first = story.do(run(claim=claim()))
    assert types_of(first) == ["run.created", "run.claimed", "run.started", "model_call.started"]
    second = story.do(finish("Hello."), after=2)
    assert types_of(second) == ["model_call.finished", *MESSAGE, "run.completed"]
    written = single_event(second, e.MessageWritten)
    assert (written.message_id, written.status, written.incomplete_reason) == ("msg_1", "completed", None)
    assert written.content == [{"type": "text", "text": {"value": "Hello.", "annotations": []}}]
    # The message is as old as its call, since frames have shown it from then on.
    assert written.created_at == story.log[0].seconds
    assert single_event(second, e.StepEnded).usage == single_event(second, e.RunCompleted).usage == USAGE


def test_tool_calls_wait_for_the_client() -> None:
    story = working_run()
    events = story.do(finish("", "call_1", "call_2"))
    assert types_of(events) == ["model_call.finished", "step.created", "run.requires_action"]
    step = single_event(events, e.StepCreated)
    assert step.tool_calls == single_event(events, e.RunRequiresAction).tool_calls
    assert [call["id"] for call in step.tool_calls] == ["call_1", "call_2"]
    assert (story.run.status, story.run.process) == ("requires_action", None)


def test_text_and_tool_calls_in_one_reply() -> None:
    story = working_run()
    events = story.do(finish("Let me look.", "call_1"))
    assert types_of(events) == ["model_call.finished", *MESSAGE, "step.created", "run.requires_action"]
    assert [event.usage for event in events if isinstance(event, e.StepCreated)] == [USAGE, NOTHING]
    events = story.do(submit("call_1"))
    assert single_event(events, e.StepEnded).usage == NOTHING


def test_a_refusal_is_a_part_of_its_own() -> None:
    story = working_run()
    said = PartialReply(text="Well.", refusal="No.")
    events = story.do(FinishModelCall("run_1", 1, said, "stop", "m-1", USAGE))
    assert [part["type"] for part in single_event(events, e.MessageWritten).content] == ["text", "refusal"]
    story = working_run()
    events = story.do(FinishModelCall("run_1", 1, PartialReply(refusal="No."), "stop", "m-1", USAGE))
    assert single_event(events, e.MessageWritten).content == [{"type": "refusal", "refusal": "No."}]


def test_an_empty_reply_is_an_empty_message() -> None:
    events = working_run().do(finish(""))
    assert single_event(events, e.MessageWritten).content == [
        {"type": "text", "text": {"value": "", "annotations": []}}
    ]
    assert types_of(events)[-1] == "run.completed"


@pytest.mark.parametrize(
    ("reason", "message_reason", "run_reason"),
    [
        ("length", "max_tokens", "max_completion_tokens"),
        ("content_filter", "content_filter", "content_filter"),
    ],
)
def test_a_reply_cut_short_makes_the_run_incomplete(reason: str, message_reason: str, run_reason: str) -> None:
    events = working_run().do(finish("Hel", reason=reason))
    assert types_of(events) == ["model_call.finished", *MESSAGE, "run.incomplete"]
    written = single_event(events, e.MessageWritten)
    assert (written.status, written.incomplete_reason) == ("incomplete", message_reason)
    assert steps(events) == [("message_creation", "completed")]
    assert single_event(events, e.RunIncomplete).reason == run_reason


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [("tool_calls", "failed")]),
        ("Hel", [("message_creation", "completed"), ("tool_calls", "failed")]),
    ],
)
def test_a_tool_call_cut_short_is_never_handed_out(text: str, expected: list[tuple[str, str]]) -> None:
    story = working_run()
    events = story.do(finish(text, "call_1", reason="length"))
    assert steps(events) == expected
    assert types_of(events)[-1] == "run.incomplete"
    assert story.state.run is None


# Broken calls


def test_a_break_that_nobody_saw_leaves_the_call_to_its_verdict() -> None:
    story = working_run()
    events = story.do(break_call())
    assert types_of(events) == ["model_call.failed"]
    assert (story.run.call and story.run.call.broken, story.run.call and story.run.call.shown) == (ERROR, False)
    ended = story.do(fail())
    assert types_of(ended) == ["run.failed"]
    assert single_event(ended, e.RunFailed).error == ERROR


def test_a_break_in_mid_message_ends_that_message_and_new_ids_follow() -> None:
    story = working_run()
    events = story.do(break_call("Hel"))
    assert types_of(events) == ["model_call.failed", *MESSAGE]
    written = single_event(events, e.MessageWritten)
    assert (written.message_id, written.status, written.incomplete_reason) == ("msg_1", "incomplete", "run_failed")
    assert steps(events) == [("message_creation", "failed")]
    again = single_event(story.do(start("2")), e.ModelCallStarted)
    assert (again.call, again.attempt, again.message_id) == (1, 2, "msg_2")
    last = story.do(finish("Hello."))
    assert single_event(last, e.MessageWritten).message_id == "msg_2"
    assert single_event(last, e.RunCompleted).usage == USAGE + USAGE


def test_a_break_in_mid_tool_call_ends_that_step() -> None:
    story = working_run()
    events = story.do(break_call("", "call_1"))
    assert steps(events) == [("tool_calls", "failed")]
    assert story.run.step is None
    assert types_of(story.do(start("2"))) == ["model_call.started"]


def test_a_step_knows_fewer_error_codes_than_a_run() -> None:
    error = e.LastError(code="invalid_prompt", message="Too long.")
    ended = single_event(working_run().do(break_call("Hel", error=error)), e.StepEnded)
    assert ended.last_error == e.LastError(code="server_error", message="Too long.")


@pytest.mark.parametrize("command", [break_call(), break_call("x"), finish("x")], ids=["unseen", "seen", "finish"])
def test_a_call_ends_once(command: ThreadCommand) -> None:
    """A broken attempt has ended: a later report of its reader is refused."""
    story = working_run()
    story.do(break_call("Hel"))
    with pytest.raises(StaleClaim):
        story.do(command)


def test_ends_without_a_call_are_stale() -> None:
    story = given(CREATE, run(claim=claim(first=None)))
    for command in (finish("x"), break_call("x")):
        with pytest.raises(StaleClaim):
            story.do(command)


# Takeovers


def test_a_takeover_takes_new_ids() -> None:
    """Clients may have seen a part of the first attempt, which no event has."""
    story = working_run()
    story.do(take(2, dead=1))
    again = single_event(story.do(start("2", epoch=2), after=5), e.ModelCallStarted)
    assert (again.call, again.attempt, again.message_id) == (1, 2, "msg_2")
    assert (again.message_step_id, again.tool_step_id) == (ids("2").message_step_id, ids("2").tool_step_id)
    written = single_event(story.do(finish("Hello.", epoch=2), after=9), e.MessageWritten)
    assert written.created_at == story.log[0].seconds + 5


def test_an_attempt_after_one_that_nobody_saw_keeps_its_ids() -> None:
    story = working_run()
    story.do(break_call())
    again = single_event(story.do(start("2"), after=5), e.ModelCallStarted)
    assert (again.attempt, again.message_id) == (2, "msg_1")
    written = single_event(story.do(finish("Hello."), after=9), e.MessageWritten)
    assert written.created_at == story.log[0].seconds


def test_a_takeover_behind_a_broken_message_takes_new_ids() -> None:
    story = working_run()
    story.do(break_call("Hel"))
    story.do(take(2, dead=1))
    assert single_event(story.do(start("2", epoch=2)), e.ModelCallStarted).message_id == "msg_2"


def test_a_finished_call_is_not_begun_again() -> None:
    story = run_awaiting_outputs()
    story.do(submit("call_1"))
    story.do(take(2))
    assert single_event(story.do(start("2", epoch=2)), e.ModelCallStarted).call == 2


def test_starting_after_a_cancel_brings_nothing() -> None:
    story = given(CREATE, run(claim=claim(first=None)))
    story.do(cancel())
    assert story.do(start()) == []


# Failing, budgets


@pytest.mark.parametrize("claimed", ["claimed", "started"])
def test_a_run_fails_with_its_cause(claimed: str) -> None:
    story = given(CREATE, run(claim=claim(first="1" if claimed == "started" else None)))
    events = story.do(fail())
    assert types_of(events) == (["model_call.stopped"] if claimed == "started" else []) + ["run.failed"]
    assert single_event(events, e.RunFailed).error == ERROR


@pytest.mark.parametrize("reason", ["max_prompt_tokens", "max_completion_tokens"])
def test_a_used_up_budget_between_calls(reason: e.RunIncompleteReason) -> None:
    """The run is queued at that moment, since its outputs have just arrived."""
    story = given(
        CREATE,
        run(claim=claim(), **dict[str, Any]({reason: 12})),
        finish("", "call_1"),
        submit("call_1", claim=claim(1)),
    )
    assert story.run.status == "queued"
    events = story.do(ExhaustRun("run_1", 2, reason))
    assert types_of(events) == ["run.started", "run.incomplete"]
    assert (events[-1].reason, events[-1].usage) == (reason, USAGE)  # type: ignore[union-attr]


def test_a_prompt_that_does_not_fit_its_budget_ends_its_call_too() -> None:
    story = working_run()
    events = story.do(ExhaustRun("run_1", 1, "max_prompt_tokens"))
    assert types_of(events) == ["model_call.stopped", "run.incomplete"]


def test_a_cancel_comes_before_an_exhausted_budget() -> None:
    story = working_run()
    story.do(cancel())
    assert story.do(ExhaustRun("run_1", 1, "max_prompt_tokens")) == []


def test_nobody_starts_a_run_that_was_not_claimed() -> None:
    story: Story = queued_run()
    with pytest.raises(StaleClaim):
        story.do(start(epoch=0))
