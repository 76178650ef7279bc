"""Runs from the view of clients and supervisors: tool outputs, cancelling, expiry, claims."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from events.errors import NotFound, Rejection, StaleClaim
from events.objects import RunStatus
from events.thread import events as e
from events.thread.commands import ModifyRun, ThreadCommand
from events.thread.run_status import TERMINAL
from tests.events.thread.story import (
    CREATE,
    LIFETIME,
    NOTHING,
    SECONDS,
    USAGE,
    Story,
    break_call,
    cancel,
    cancelling_run,
    claim,
    completed_run,
    expire,
    fail,
    finish,
    given,
    queued_run,
    run,
    run_awaiting_outputs,
    single_event,
    start,
    stop,
    submit,
    take,
    types_of,
    working_run,
)

ACTIVE: dict[RunStatus, Callable[[], Story]] = {
    "queued": queued_run,
    "in_progress": working_run,
    "requires_action": run_awaiting_outputs,
    "cancelling": cancelling_run,
}


def test_a_run_copies_its_settings_and_expires_in_time() -> None:
    story = given(CREATE)
    created = single_event(story.do(run(temperature=0.5, max_prompt_tokens=300, metadata={"a": "b"})), e.RunCreated)
    assert (created.temperature, created.max_prompt_tokens, created.metadata) == (0.5, 300, {"a": "b"})
    assert created.expires_at == SECONDS + LIFETIME


# Tool outputs


@pytest.mark.parametrize(
    "got",
    [
        ("call_1",),
        ("call_1", "call_9"),
        ("call_1", "call_1"),
        ("call_1", "call_2", "call_2"),
        ("call_1", "call_2", "call_3"),
        (),
    ],
)
def test_wrong_outputs_change_nothing_and_the_right_ones_still_pass(got: tuple[str, ...]) -> None:
    story = run_awaiting_outputs("call_1", "call_2")
    before = story.state
    with pytest.raises(Rejection) as refused:
        story.do(submit(*got))
    assert refused.value.message == f"Expected tool outputs for call_ids ['call_1', 'call_2'], got {list(got)}"
    assert story.state == before
    events = story.do(submit("call_2", "call_1"))
    assert types_of(events) == ["tool_outputs.submitted", "step.ended", "run.queued"]
    assert single_event(events, e.StepEnded).usage == USAGE
    assert [output.tool_call_id for output in events[0].outputs] == ["call_2", "call_1"]  # type: ignore[union-attr]


@pytest.mark.parametrize("status", ["queued", "in_progress", "cancelling"])
def test_outputs_are_taken_only_where_they_are_awaited(status: RunStatus) -> None:
    with pytest.raises(Rejection, match=f'Runs in status "{status}" do not accept tool outputs.'):
        ACTIVE[status]().do(submit("call_1", status=None))


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_outputs_for_a_run_that_has_ended(status: RunStatus) -> None:
    with pytest.raises(Rejection, match=f'Runs in status "{status}" do not accept tool outputs.'):
        completed_run().do(submit("call_1", status=status))


def test_outputs_with_a_claim_go_on_in_the_same_append() -> None:
    story = run_awaiting_outputs()
    events = story.do(submit("call_1", claim=claim(2, "2")))
    assert types_of(events)[2:] == ["run.queued", "run.claimed", "run.started", "model_call.started"]
    assert (story.run.epoch, story.run.process, story.run.calls) == (2, 2, 2)


@pytest.mark.parametrize("budget", ["max_prompt_tokens", "max_completion_tokens"])
def test_a_budgeted_run_is_claimed_without_its_next_call(budget: str) -> None:
    story = given(CREATE, run(claim=claim(), **dict[str, Any]({budget: 300})), finish("", "call_1"))
    assert types_of(story.do(submit("call_1", claim=claim(2, "2"))))[2:] == ["run.queued", "run.claimed"]
    assert types_of(story.do(start("2", epoch=2))) == ["run.started", "model_call.started"]


# Modifying


@pytest.mark.parametrize("status", ["in_progress", "cancelling"])
def test_a_run_at_work_is_not_modified(status: RunStatus) -> None:
    with pytest.raises(Rejection, match=f"Cannot update run with status '{status}'."):
        ACTIVE[status]().do(ModifyRun("run_1", "queued", {}))


@pytest.mark.parametrize("status", ["queued", "requires_action"])
def test_a_run_at_rest_is_modified(status: RunStatus) -> None:
    assert types_of(ACTIVE[status]().do(ModifyRun("run_1", None, {"a": "b"}))) == ["run.modified"]


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_a_run_that_has_ended_is_modified(status: RunStatus) -> None:
    assert types_of(completed_run().do(ModifyRun("run_1", status, {"a": "b"}))) == ["run.modified"]


@pytest.mark.parametrize(
    "command", [ModifyRun("run_9", None, {}), cancel(run_id="run_9"), submit("call_1", status=None, run_id="run_9")]
)
def test_runs_that_are_not_there(command: ThreadCommand) -> None:
    with pytest.raises(NotFound, match="No run found with id 'run_9'"):
        run_awaiting_outputs().do(command)


# Cancelling


@pytest.mark.parametrize(
    ("story", "events"),
    [
        (queued_run, ["run.cancelling", "run.cancelled"]),
        (run_awaiting_outputs, ["run.cancelling", "step.ended", "run.cancelled"]),
        (working_run, ["run.cancelling"]),
        (lambda: given(CREATE, run(claim=claim(first=None))), ["run.cancelling"]),
    ],
    ids=["queued", "requires_action", "in_progress", "claimed"],
)
def test_cancel(story: Callable[[], Story], events: list[str]) -> None:
    made = story()
    assert types_of(made.do(cancel())) == events


@pytest.mark.parametrize("status", [*sorted(TERMINAL)])
def test_what_has_ended_is_not_cancelled(status: RunStatus) -> None:
    with pytest.raises(Rejection, match=f"Cannot cancel run with status '{status}'."):
        completed_run().do(cancel(status))


def test_cancelling_twice_is_refused() -> None:
    with pytest.raises(Rejection, match=r"Cannot cancel run with status 'cancelling'\."):
        cancelling_run().do(cancel())


def test_a_cancelled_tool_step_ends_cancelled_with_its_usage() -> None:
    story = run_awaiting_outputs()
    events = story.do(cancel())
    assert single_event(events, e.StepEnded).status == "cancelled"
    assert single_event(events, e.StepEnded).usage == single_event(events, e.RunCancelled).usage == USAGE


@pytest.mark.parametrize(
    ("command", "events"),
    [
        (stop(), ["model_call.stopped", "run.cancelled"]),
        (stop("Hel"), ["model_call.stopped", "step.created", "message.written", "step.ended", "run.cancelled"]),
        (finish("Hello."), ["model_call.stopped", "step.created", "message.written", "step.ended", "run.cancelled"]),
        (break_call("Hel"), ["model_call.stopped", "step.created", "message.written", "step.ended", "run.cancelled"]),
        (break_call(), ["model_call.stopped", "run.cancelled"]),
        (fail(), ["model_call.stopped", "run.cancelled"]),
        (start("2"), []),
        (finish("", "call_1"), ["model_call.stopped", "step.created", "step.ended", "run.cancelled"]),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, list) else "",
)
def test_whatever_the_executor_reports_a_cancelling_run_ends_cancelled(
    command: ThreadCommand, events: list[str]
) -> None:
    story = cancelling_run()
    found = story.do(command)
    assert types_of(found) == events
    for event in found:
        if isinstance(event, e.MessageWritten):
            assert (event.status, event.incomplete_reason) == ("incomplete", "run_cancelled")
        if isinstance(event, e.StepEnded):
            assert (event.status, event.last_error) == ("cancelled", None)


# Expiry


@pytest.mark.parametrize(
    ("status", "events"),
    [
        ("queued", ["run.expired"]),
        ("in_progress", ["model_call.stopped", "run.expired"]),
        ("requires_action", ["step.ended", "run.expired"]),
        ("cancelling", ["model_call.stopped", "run.expired"]),
    ],
)
def test_a_run_expires_in_each_state_and_not_before_its_time(status: RunStatus, events: list[str]) -> None:
    story = ACTIVE[status]()
    assert story.do(expire(), after=LIFETIME - 0.001) == []
    found = story.do(expire(), after=LIFETIME + 5000)
    assert types_of(found) == events
    # The time of the expiry counts, not the time at which it is noticed.
    assert single_event(found, e.RunExpired).expired_at == SECONDS + LIFETIME
    assert story.state.run is None
    for event in found:
        if isinstance(event, e.StepEnded):
            assert (event.status, event.ended_at) == ("expired", SECONDS + LIFETIME)
    assert story.do(expire(), after=LIFETIME + 5001) == []


def test_an_executor_whose_time_is_up_reports_what_was_said() -> None:
    story = working_run()
    assert story.do(stop("Hel"), after=LIFETIME - 1) == []
    found = story.do(stop("Hel"), after=LIFETIME)
    assert types_of(found) == ["model_call.stopped", "step.created", "message.written", "step.ended", "run.expired"]
    assert single_event(found, e.MessageWritten).incomplete_reason == "run_expired"
    assert single_event(found, e.StepEnded).usage == single_event(found, e.RunExpired).usage == USAGE


# Claims


def test_only_runs_without_a_live_process_are_claimed() -> None:
    story = queued_run()
    assert types_of(story.do(take(1))) == ["run.claimed"]
    assert (story.run.epoch, story.run.process) == (1, 1)
    assert story.do(take(2)) == []  # a process holds it now
    assert types_of(story.do(take(2, dead=1))) == ["run.claimed"]
    assert (story.run.epoch, story.run.process) == (2, 2)
    assert story.do(take(3, dead=1)) == []
    assert story.do(take(3, dead=2, run_id="run_9")) == []


@pytest.mark.parametrize("status", ["queued", "in_progress", "cancelling"])
def test_a_dead_process_loses_its_run(status: RunStatus) -> None:
    story = ACTIVE[status]()
    assert types_of(story.do(take(2, dead=story.run.process))) == ["run.claimed"]


def test_a_run_that_waits_for_its_client_is_not_claimed() -> None:
    assert run_awaiting_outputs().do(take(2)) == []


@pytest.mark.parametrize(
    "command", [start("2"), finish("x"), break_call("x"), fail(), stop("x")], ids=lambda command: type(command).__name__
)
def test_a_stale_epoch_is_refused(command: ThreadCommand) -> None:
    story = working_run()
    story.do(take(2, dead=1))
    before = story.state
    with pytest.raises(StaleClaim):
        story.do(command)
    assert story.state == before


@pytest.mark.parametrize(
    "command", [start("2"), finish("x"), break_call("x"), fail(), stop("x")], ids=lambda command: type(command).__name__
)
@pytest.mark.parametrize("resumed", [False, True])
def test_a_claim_ends_where_the_client_is_awaited(command: ThreadCommand, resumed: bool) -> None:
    """This also holds if the outputs have arrived and no process has taken the run since: the epoch is unchanged."""
    story = run_awaiting_outputs()
    if resumed:
        story.do(submit("call_1"))
    with pytest.raises(StaleClaim):
        story.do(command)


def test_usage_of_a_run_that_did_nothing() -> None:
    assert single_event(queued_run().do(cancel()), e.RunCancelled).usage == NOTHING
