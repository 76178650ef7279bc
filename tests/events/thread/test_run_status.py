"""The table of a run's transitions as data: a history reaches each legal one, and every other one is refused."""

from __future__ import annotations

from itertools import pairwise, product

import pytest

from events.actors import CommandLineActor
from events.envelope import RecordedEvent
from events.object_changes import run_patch
from events.objects import RunStatus
from events.thread import events as e
from events.thread.commands import DeleteThread, ExhaustRun, ThreadCommand
from events.thread.run_status import ACTIVE, TERMINAL, TRANSITIONS, IllegalTransition, transition
from events.thread.state import RunState, evolve_run
from tests.events.thread.story import (
    CREATE,
    LIFETIME,
    NOTHING,
    T0,
    Story,
    cancel,
    claim,
    expire,
    fail,
    finish,
    run,
    start,
    stop,
    submit,
    take,
)

CLAIMED: list[ThreadCommand] = [CREATE, run(claim=claim(first=None))]
WORKING: list[ThreadCommand] = [CREATE, run(claim=claim())]
WAITING: list[ThreadCommand] = [*WORKING, finish("", "call_1")]

# One history for each legal transition: its commands, and the seconds after T0 of the last one.
WAYS: dict[tuple[RunStatus, RunStatus], tuple[list[ThreadCommand], float]] = {
    ("queued", "in_progress"): ([CREATE, run(), take(), start()], 0),
    ("queued", "cancelling"): ([*CLAIMED, cancel()], 0),
    ("queued", "failed"): ([*CLAIMED, fail()], 0),
    ("queued", "expired"): ([CREATE, run(), expire()], LIFETIME),
    ("in_progress", "requires_action"): (WAITING, 0),
    ("in_progress", "cancelling"): ([*WORKING, cancel()], 0),
    ("in_progress", "completed"): ([*WORKING, finish("x")], 0),
    ("in_progress", "failed"): ([*WORKING, fail()], 0),
    ("in_progress", "incomplete"): ([*WORKING, ExhaustRun("run_1", 1, "max_prompt_tokens")], 0),
    ("in_progress", "expired"): ([*WORKING, expire()], LIFETIME),
    ("requires_action", "queued"): ([*WAITING, submit("call_1")], 0),
    ("requires_action", "cancelling"): ([*WAITING, DeleteThread()], 0),
    ("requires_action", "expired"): ([*WAITING, expire()], LIFETIME),
    ("cancelling", "cancelled"): ([*WORKING, cancel(), stop()], 0),
    ("cancelling", "expired"): ([*WORKING, cancel(), expire()], LIFETIME),
}
LEGAL = {(old, new) for old, nexts in TRANSITIONS.items() for new in nexts}
EVENTS: dict[RunStatus, e.RunEvent] = {
    "queued": e.RunQueued(run_id="run_1"),
    "in_progress": e.RunStarted(run_id="run_1"),
    "requires_action": e.RunRequiresAction(run_id="run_1", tool_calls=[]),
    "cancelling": e.RunCancelling(run_id="run_1"),
    "cancelled": e.RunCancelled(run_id="run_1", usage=NOTHING),
    "failed": e.RunFailed(run_id="run_1", error=e.LastError(code="server_error", message=""), usage=NOTHING),
    "completed": e.RunCompleted(run_id="run_1", usage=NOTHING),
    "incomplete": e.RunIncomplete(run_id="run_1", reason="max_prompt_tokens", usage=NOTHING),
    "expired": e.RunExpired(run_id="run_1", expired_at=0, usage=NOTHING),
}


def statuses(story: Story) -> list[RunStatus]:
    found: list[RunStatus] = ["queued"]
    found += [patch["status"] for entry in story.log if "status" in (patch := run_patch(entry) or {})]
    return found


def test_every_legal_transition_has_a_way() -> None:
    assert set(WAYS) == LEGAL


@pytest.mark.parametrize("step", sorted(WAYS), ids=" to ".join)
def test_each_way_leads_there(step: tuple[RunStatus, RunStatus]) -> None:
    commands, after = WAYS[step]
    story = Story()
    for command in commands[:-1]:
        story.do(command)
    story.do(commands[-1], after=after)
    assert step in set(pairwise(statuses(story)))


@pytest.mark.parametrize(("old", "new"), sorted(product(TRANSITIONS, repeat=2)))
def test_the_fold_follows_the_table(old: RunStatus, new: RunStatus) -> None:
    state = RunState("run_1", 1, "asst_1", old, LIFETIME, None, None)
    entry = RecordedEvent("thread_1", 1, T0, EVENTS[new], "proj_1", CommandLineActor())
    if (old, new) in LEGAL:
        assert evolve_run(state, entry).status == transition("run_1", old, new) == new
    else:
        with pytest.raises(IllegalTransition):
            evolve_run(state, entry)


def test_terminal_statuses() -> None:
    assert {"cancelled", "failed", "completed", "incomplete", "expired"} == TERMINAL
    assert {"queued", "in_progress", "requires_action", "cancelling"} == ACTIVE
