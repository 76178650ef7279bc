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
    broke,
    cancel,
    cancelling,
    claim,
    done,
    expire,
    fail,
    finish,
    given,
    kinds,
    only,
    queued,
    run,
    start,
    stop,
    submit,
    take,
    waiting,
    working,
)

ACTIVE: dict[RunStatus, Callable[[], Story]] = {
    "queued": queued,
    "in_progress": working,
    "requires_action": waiting,
    "cancelling": cancelling,
}


def test_a_run_copies_its_settings_and_expires_in_time() -> None:
    story = given(CREATE)
    created = only(story.do(run(temperature=0.5, max_prompt_tokens=300, metadata={"a": "b"})), e.RunCreated)
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
    story = waiting("call_1", "call_2")
    before = story.state
    with pytest.raises(Rejection) as refused:
        story.do(submit(*got))
    assert refused.value.message == f"Expected tool outputs for call_ids ['call_1', 'call_2'], got {list(got)}"
    assert story.state == before
    events = story.do(submit("call_2", "call_1"))
    assert kinds(events) == ["tool_outputs.submitted", "step.ended", "run.queued"]
    assert only(events, e.StepEnded).usage == USAGE
    assert [output.tool_call_id for output in events[0].outputs] == ["call_2", "call_1"]  # type: ignore[union-attr]


@pytest.mark.parametrize("status", ["queued", "in_progress", "cancelling"])
def test_outputs_are_taken_only_where_they_are_awaited(status: RunStatus) -> None:
    with pytest.raises(Rejection, match=f'Runs in status "{status}" do not accept tool outputs.'):
        ACTIVE[status]().do(submit("call_1", status=None))


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_outputs_for_a_run_that_has_ended(status: RunStatus) -> None:
    with pytest.raises(Rejection, match=f'Runs in status "{status}" do not accept tool outputs.'):
        done().do(submit("call_1", status=status))


def test_outputs_with_a_claim_go_on_in_the_same_append() -> None:
    story = waiting()
    events = story.do(submit("call_1", claim=claim(2, "2")))
    assert kinds(events)[2:] == ["run.queued", "run.claimed", "run.started", "model_call.started"]
    assert (story.run.epoch, story.run.process, story.run.calls) == (2, 2, 2)


@pytest.mark.parametrize("budget", ["max_prompt_tokens", "max_completion_tokens"])
def test_a_budgeted_run_is_claimed_without_its_next_call(budget: str) -> None:
    story = given(CREATE, run(claim=claim(), **dict[str, Any]({budget: 300})), finish("", "call_1"))
    assert kinds(story.do(submit("call_1", claim=claim(2, "2"))))[2:] == ["run.queued", "run.claimed"]
    assert kinds(story.do(start("2", epoch=2))) == ["run.started", "model_call.started"]


# Modifying


@pytest.mark.parametrize("status", ["in_progress", "cancelling"])
def test_a_run_at_work_is_not_modified(status: RunStatus) -> None:
    with pytest.raises(Rejection, match=f"Cannot update run with status '{status}'."):
        ACTIVE[status]().do(ModifyRun("run_1", "queued", {}))


@pytest.mark.parametrize("status", ["queued", "requires_action"])
def test_a_run_at_rest_is_modified(status: RunStatus) -> None:
    assert kinds(ACTIVE[status]().do(ModifyRun("run_1", None, {"a": "b"}))) == ["run.modified"]


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_a_run_that_has_ended_is_modified(status: RunStatus) -> None:
    assert kinds(done().do(ModifyRun("run_1", status, {"a": "b"}))) == ["run.modified"]


@pytest.mark.parametrize(
    "command", [ModifyRun("run_9", None, {}), cancel(run_id="run_9"), submit("call_1", status=None, run_id="run_9")]
)
def test_runs_that_are_not_there(command: ThreadCommand) -> None:
    with pytest.raises(NotFound, match="No run found with id 'run_9'"):
        waiting().do(command)


# Cancelling


@pytest.mark.parametrize(
    ("story", "events"),
    [
        (queued, ["run.cancelling", "run.cancelled"]),
        (waiting, ["run.cancelling", "step.ended", "run.cancelled"]),
        (working, ["run.cancelling"]),
        (lambda: given(CREATE, run(claim=claim(first=None))), ["run.cancelling"]),
    ],
    ids=["queued", "requires_action", "in_progress", "claimed"],
)
def test_cancel(story: Callable[[], Story], events: list[str]) -> None:
    made = story()
    assert kinds(made.do(cancel())) == events


@pytest.mark.parametrize("status", [*sorted(TERMINAL)])
def test_what_has_ended_is_not_cancelled(status: RunStatus) -> None:
    with pytest.raises(Rejection, match=f"Cannot cancel run with status '{status}'."):
        done().do(cancel(status))


def test_cancelling_twice_is_refused() -> None:
    with pytest.raises(Rejection, match=r"Cannot cancel run with status 'cancelling'\."):
        cancelling().do(cancel())


def test_a_cancelled_tool_step_ends_cancelled_with_its_usage() -> None:
    story = waiting()
    events = story.do(cancel())
    assert only(events, e.StepEnded).status == "cancelled"
    assert only(events, e.StepEnded).usage == only(events, e.RunCancelled).usage == USAGE


@pytest.mark.parametrize(
    ("command", "events"),
    [
        (stop(), ["model_call.stopped", "run.cancelled"]),
        (stop("Hel"), ["model_call.stopped", "step.created", "message.written", "step.ended", "run.cancelled"]),
        (finish("Hello."), ["model_call.stopped", "step.created", "message.written", "step.ended", "run.cancelled"]),
        (broke("Hel"), ["model_call.stopped", "step.created", "message.written", "step.ended", "run.cancelled"]),
        (broke(), ["model_call.stopped", "run.cancelled"]),
        (fail(), ["model_call.stopped", "run.cancelled"]),
        (start("2"), []),
        (finish("", "call_1"), ["model_call.stopped", "step.created", "step.ended", "run.cancelled"]),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, list) else "",
)
def test_whatever_the_executor_reports_a_cancelling_run_ends_cancelled(
    command: ThreadCommand, events: list[str]
) -> None:
    story = cancelling()
    found = story.do(command)
    assert kinds(found) == events
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
    assert kinds(found) == events
    # The time of the expiry counts, not the time at which it is noticed.
    assert only(found, e.RunExpired).expired_at == SECONDS + LIFETIME
    assert story.state.run is None
    for event in found:
        if isinstance(event, e.StepEnded):
            assert (event.status, event.ended_at) == ("expired", SECONDS + LIFETIME)
    assert story.do(expire(), after=LIFETIME + 5001) == []


def test_an_executor_whose_time_is_up_reports_what_was_said() -> None:
    story = working()
    assert story.do(stop("Hel"), after=LIFETIME - 1) == []
    found = story.do(stop("Hel"), after=LIFETIME)
    assert kinds(found) == ["model_call.stopped", "step.created", "message.written", "step.ended", "run.expired"]
    assert only(found, e.MessageWritten).incomplete_reason == "run_expired"
    assert only(found, e.StepEnded).usage == only(found, e.RunExpired).usage == USAGE


# Claims


def test_only_runs_without_a_live_process_are_claimed() -> None:
    story = queued()
    assert kinds(story.do(take(1))) == ["run.claimed"]
    assert (story.run.epoch, story.run.process) == (1, 1)
    assert story.do(take(2)) == []  # a process holds it now
    assert kinds(story.do(take(2, dead=1))) == ["run.claimed"]
    assert (story.run.epoch, story.run.process) == (2, 2)
    assert story.do(take(3, dead=1)) == []
    assert story.do(take(3, dead=2, run_id="run_9")) == []


@pytest.mark.parametrize("status", ["queued", "in_progress", "cancelling"])
def test_a_dead_process_loses_its_run(status: RunStatus) -> None:
    story = ACTIVE[status]()
    assert kinds(story.do(take(2, dead=story.run.process))) == ["run.claimed"]


def test_a_run_that_waits_for_its_client_is_not_claimed() -> None:
    assert waiting().do(take(2)) == []


@pytest.mark.parametrize(
    "command", [start("2"), finish("x"), broke("x"), fail(), stop("x")], ids=lambda command: type(command).__name__
)
def test_a_stale_epoch_is_refused(command: ThreadCommand) -> None:
    story = working()
    story.do(take(2, dead=1))
    before = story.state
    with pytest.raises(StaleClaim):
        story.do(command)
    assert story.state == before


@pytest.mark.parametrize(
    "command", [start("2"), finish("x"), broke("x"), fail(), stop("x")], ids=lambda command: type(command).__name__
)
@pytest.mark.parametrize("resumed", [False, True])
def test_a_claim_ends_where_the_client_is_awaited(command: ThreadCommand, resumed: bool) -> None:
    """This also holds if the outputs have arrived and no process has taken the run since: the epoch is unchanged."""
    story = waiting()
    if resumed:
        story.do(submit("call_1"))
    with pytest.raises(StaleClaim):
        story.do(command)


def test_usage_of_a_run_that_did_nothing() -> None:
    assert only(queued().do(cancel()), e.RunCancelled).usage == NOTHING
