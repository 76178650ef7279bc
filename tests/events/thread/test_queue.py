"""Runs that wait for others of their thread: admission, ends, and the order of turns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from events.errors import Rejection, StaleClaim
from events.objects import RunStatus
from events.thread import events as e
from events.thread.commands import DeleteThread, ModifyRun, ThreadCommand
from events.thread.queue import MAX_WAITING_RUNS
from events.thread.state import ThreadState
from tests.events.thread.story import (
    CREATE,
    LIFETIME,
    SECONDS,
    Story,
    add,
    cancel,
    cancelling_run,
    claim,
    expire,
    fail,
    finish,
    given,
    message,
    queued_run,
    run,
    run_awaiting_outputs,
    run_with_queue,
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


def run_ids(state: ThreadState) -> list[str]:
    """Returns the ids of the active run and of those behind it."""
    return [*([state.run.id] if state.run else []), *(one.run.id for one in state.waiting)]


@pytest.mark.parametrize("status", ACTIVE)
def test_messages_and_runs_of_a_busy_thread_are_queued_where_asked(status: RunStatus) -> None:
    story = ACTIVE[status]()
    before = story.run
    assert types_of(story.do(add(id="msg_2", queue=True))) == ["message.added"]
    more = run("run_2", claim(2, "9"), messages=[message("And this", "msg_3")], queue=True)
    events = story.do(more)
    assert types_of(events) == ["message.added", "run.created"]
    created = single_event(events, e.RunCreated)
    assert (created.expires_at, created.lifetime) == (None, LIFETIME)
    assert story.run == before, "the active run is as it was"
    assert run_ids(story.state) == ["run_1", "run_2"]
    assert story.state.user_messages == 2


@pytest.mark.parametrize("status", ACTIVE)
def test_without_being_asked_a_busy_thread_refuses_as_ever(status: RunStatus) -> None:
    story = ACTIVE[status]()
    story.do(run("run_2", queue=True))
    with pytest.raises(Rejection, match=r"^Can't add messages to thread_1 while a run run_1 is active\.$"):
        story.do(add())
    with pytest.raises(Rejection, match=r"^Thread thread_1 already has an active run run_1\.$"):
        story.do(run("run_3"))


def test_queueing_changes_nothing_where_the_thread_is_free() -> None:
    asked, plain = given(CREATE), given(CREATE)
    assert asked.do(run(claim=claim(), queue=True)) == plain.do(run(claim=claim()))
    assert asked.state == plain.state


def test_the_queue_is_bounded() -> None:
    story = working_run()
    for number in range(MAX_WAITING_RUNS):
        story.do(run(f"run_w{number}", queue=True))
    before = story.state
    with pytest.raises(Rejection, match="Thread thread_1 has 10 runs waiting") as refused:
        story.do(run("run_over", messages=[message()], queue=True))
    assert refused.value.code == "thread_queue_full"
    assert story.state == before
    story.do(finish("Hello."))
    story.do(run("run_over", queue=True))
    assert run_ids(story.state)[-1] == "run_over"


def test_a_run_without_anything_to_answer_is_not_queued_either() -> None:
    story = given(CREATE, run(claim=claim()))
    with pytest.raises(Rejection) as refused:
        story.do(run("run_2", instructions=None, queue=True))
    assert refused.value.code == "invalid_thread"


# Turns


def test_the_next_run_begins_in_the_append_that_ends_the_first() -> None:
    story = run_with_queue()
    events = story.do(finish("Hello."), after=500)
    assert types_of(events)[-3:] == ["run.completed", "run.admitted", "run.claimed"]
    admitted, claimed = events[-2:]
    assert admitted == e.RunAdmitted(run_id="run_2", expires_at=SECONDS + 500 + LIFETIME)
    assert claimed == e.RunClaimed(run_id="run_2", epoch=1, process=1), "by the process that ended the first"
    assert (story.run.id, story.run.status, story.run.expires_at) == ("run_2", "queued", SECONDS + 500 + LIFETIME)
    assert run_ids(story.state) == ["run_2", "run_3"]
    with pytest.raises(StaleClaim):
        story.do(finish("Again."))
    story.do(start("2", run_id="run_2"), after=501)
    story.do(finish("Second.", run_id="run_2"), after=502)
    assert run_ids(story.state) == ["run_3"]


@pytest.mark.parametrize(
    ("story", "end"),
    [
        (working_run, fail()),
        (cancelling_run, stop("Hel")),
        (working_run, finish("Hel", reason="length")),
        (working_run, finish("Hel", reason="content_filter")),
    ],
    ids=["failed", "cancelled", "length", "filtered"],
)
def test_however_a_process_ends_the_first(story: Callable[[], Story], end: ThreadCommand) -> None:
    one = story()
    one.do(run("run_2", queue=True))
    assert types_of(one.do(end))[-2:] == ["run.admitted", "run.claimed"]
    assert one.run.process == 1


@pytest.mark.parametrize("with_claim", [True, False])
@pytest.mark.parametrize(
    ("story", "end", "after"), [(run_awaiting_outputs, cancel(), 1), (run_awaiting_outputs, expire(), LIFETIME)]
)
def test_where_no_process_held_the_first(
    story: Callable[[], Story], end: ThreadCommand, after: int, with_claim: bool
) -> None:
    """The command that ends a run may claim the next one; otherwise a scan finds it."""
    one = story()
    one.do(run("run_2", queue=True))
    ended = cancel if "Cancel" in type(end).__name__ else expire
    events = one.do(ended(claim=claim(7) if with_claim else None), after=after)
    assert types_of(events)[-1] == ("run.claimed" if with_claim else "run.admitted")
    assert (one.run.id, one.run.process) == ("run_2", 7 if with_claim else None)
    assert one.run.expires_at == SECONDS + after + LIFETIME
    if not with_claim:
        assert types_of(one.do(take(3, run_id="run_2"))) == ["run.claimed"]


def test_the_last_in_the_queue_leaves_the_thread_free() -> None:
    story = given(CREATE, run(claim=claim()), run("run_2", queue=True), finish("One."))
    story.do(start("2", run_id="run_2"))
    assert types_of(story.do(finish("Two.", run_id="run_2")))[-1] == "run.completed"
    assert (story.state.run, story.state.waiting) == (None, ())
    story.do(add(id="msg_9"))


# While it waits


def test_a_waiting_run_is_cancelled_at_once_and_loses_its_turn() -> None:
    story = run_with_queue()
    assert types_of(story.do(cancel(run_id="run_2"))) == ["run.cancelling", "run.cancelled"]
    assert run_ids(story.state) == ["run_1", "run_3"]
    with pytest.raises(Rejection, match="Cannot cancel run with status 'cancelled'"):
        story.do(cancel("cancelled", run_id="run_2"))
    assert single_event(story.do(finish("Hello.")), e.RunAdmitted).run_id == "run_3"


def test_a_waiting_run_is_modified_and_takes_no_outputs() -> None:
    story = run_with_queue()
    assert types_of(story.do(ModifyRun("run_2", "queued", {"a": "b"}))) == ["run.modified"]
    with pytest.raises(Rejection, match='Runs in status "queued" do not accept tool outputs'):
        story.do(submit("call_1", status="queued", run_id="run_2"))


def test_a_waiting_run_neither_expires_nor_is_claimed() -> None:
    story = run_with_queue()
    assert story.do(expire("run_2"), after=10 * LIFETIME) == []
    assert story.do(take(2, run_id="run_2")) == []


def test_a_deleted_thread_ends_them_all() -> None:
    story = run_with_queue()
    events = story.do(DeleteThread())
    assert [event.run_id for event in events if isinstance(event, e.RunCancelled)] == ["run_1", "run_2", "run_3"]
    assert types_of(events)[-1] == "thread.deleted"
    assert story.state == ThreadState("thread_1")


@pytest.mark.parametrize("status", ACTIVE)
def test_a_run_interrupts_the_active_one(status: RunStatus) -> None:
    story = ACTIVE[status]()
    first = story.run
    story.do(run("run_2", queue=True))
    events = story.do(replace(run("run_3", claim(2, "9"), messages=[message("Stop", "msg_9")]), interrupt=True))
    ended = [event.run_id for event in events if isinstance(event, e.RunCancelled)]
    if first.process is None:
        assert ended == ["run_2", "run_1"]
        assert types_of(events)[-2:] == ["run.admitted", "run.claimed"]
        assert run_ids(story.state) == ["run_3"]
        return
    assert ended == ["run_2"]
    assert run_ids(story.state) == ["run_1", "run_3"]
    assert (story.run.status, "run.cancelling" in types_of(events[-1:])) == ("cancelling", status != "cancelling")
    assert types_of(story.do(stop()))[-2:] == ["run.admitted", "run.claimed"]
    assert run_ids(story.state) == ["run_3"]


def test_a_run_that_interrupts_nothing_begins() -> None:
    story = given(CREATE, add())
    events = story.do(replace(run(claim=claim()), interrupt=True))
    assert types_of(events)[0] == "run.created"
    assert story.run.status == "in_progress"
