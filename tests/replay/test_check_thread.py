"""Recorded histories are checked against today's software: nothing deviates, unless a change is planted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from random import Random
from typing import Any

import pytest

from events.envelope import RecordedEvent
from events.errors import DomainError
from events.streams import THREAD
from events.thread import events as e
from events.thread.state import RunState, ThreadState
from service.replay.check_stream import groups_of
from service.replay.check_thread import ThreadReplayCheck
from service.replay.deviations import Deviation, LoggedEvent
from service.runs import plan as planning
from service.runs.plan import Fail, Rest, StartCall
from tests.events.thread.histories import World
from tests.events.thread.story import (
    CREATE,
    ERROR,
    Story,
    add,
    break_call,
    cancel,
    claim,
    expire,
    fail,
    finish,
    given,
    run,
    start,
    stop,
    submit,
    take,
)


def check(
    log: Iterable[RecordedEvent[e.ThreadEvent]], thread: Any = THREAD, software: str = "older"
) -> list[Deviation]:
    check = ThreadReplayCheck("thread_1", lambda _: "again", thread)
    logged = [LoggedEvent(recorded, software) for recorded in log]
    return [found for group in groups_of(logged) for found in check.add(group)]


def spread(*commands: Any) -> Story:
    """A story whose commands come a second apart."""
    story = Story()
    for second, command in enumerate(commands):
        story.do(command, after=second)
    return story


@pytest.mark.parametrize("seed", range(60))
def test_random_histories_do_not_deviate(seed: int) -> None:
    """Actors of the histories do not follow `plan`, so only `decide` and `evolve` are compared."""
    world = World(Random(seed))
    for _ in range(80):
        try:
            world.do(world.next_command())
        except DomainError:
            continue
    assert [found for found in check(world.log) if found.part != "plan"] == []


STORIES = {
    "plain": spread(CREATE, add(), run(claim=claim()), finish("Hello.")),
    "claimed by a scan": spread(CREATE, add(), run(), take(), start(), finish("Hello.")),
    "functions": spread(
        CREATE, add(), run(claim=claim()), finish("", "a", "b"), submit("a", "b", claim=claim(first="2")),
        finish("Rain.", epoch=2),
    ),
    "functions, claimed later": spread(
        CREATE, add(), run(claim=claim()), finish("", "a"), submit("a"), take(2), start("2", 2), finish("R", epoch=2)
    ),
    "broken": spread(CREATE, add(), run(claim=claim()), break_call("Hel"), start("2"), finish("Hello.")),
    "failed": spread(CREATE, add(), run(claim=claim()), break_call(), fail()),
    "cancelled": spread(CREATE, add(), run(claim=claim()), cancel(), stop("Hel")),
    "cancelled as it waits": spread(CREATE, add(), run(claim=claim()), finish("", "a"), cancel()),
    "taken over": spread(CREATE, add(), run(claim=claim()), take(2, 1), start("1", 2), finish("Hello.", epoch=2)),
    "queued": spread(
        CREATE, add(), run(claim=claim()), add("2", "msg_2", queue=True), run("run_2", queue=True), finish("1"),
        start("2", run_id="run_2"), finish("2", run_id="run_2"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STORIES)
def test_stories_do_not_deviate(name: str) -> None:
    assert check(STORIES[name].log) == []


def test_a_run_that_expires_does_not_deviate() -> None:
    for end in (expire(), stop("Hel")):
        story = given(CREATE, add(), run(claim=claim()))
        story.do(end, after=600)
        assert check(story.log) == []


def test_the_own_attempt_may_be_lost() -> None:
    """After an append of unknown outcome, an executor starts the next attempt at its own open call."""
    assert check(spread(CREATE, add(), run(claim=claim()), start("1"), finish("Hello.")).log) == []


@pytest.mark.parametrize("name", STORIES)
def test_a_planted_change_of_plan_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan that never performs a call, and one that rests instead of starting one, differ at the next report."""
    original = planning.plan

    def lazy(run: RunState, **given: Any) -> Any:
        action = original(run, **given)
        return Rest() if isinstance(action, StartCall) else action

    monkeypatch.setattr(planning, "plan", lazy)
    story = STORIES[name]
    found = check(story.log)
    starts = [
        recorded
        for before, recorded in zip(story.log, story.log[1:], strict=False)
        if isinstance(recorded.event, e.ModelCallStarted | e.RunStarted) and before.at != recorded.at
    ]
    assert [(one.part, one.version) for one in found] == [("plan", one.version) for one in starts]
    assert all(one.today == "wait for the outputs of the client" for one in found)


def test_a_plan_that_does_not_wait_for_its_client_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "plan", lambda run, **_: Fail(ERROR))
    [found, *_] = check(spread(CREATE, add(), run(claim=claim()), finish("", "a")).log)
    assert (found.part, found.type) == ("plan", "model_call.finished")
    found = check(spread(CREATE, add(), run(claim=claim()), finish("", "a")).log)[-1]
    assert (found.type, found.recorded) == ("run.requires_action", "the run waited for its client")


def test_a_planted_change_of_decide_is_found() -> None:
    def decide(state: ThreadState, command: Any, at: datetime) -> list[Any]:
        events = THREAD.decide(state, command, at)
        return [
            event.model_copy(update={"status": "failed"}) if isinstance(event, e.StepEnded) else event
            for event in events
        ]

    story = STORIES["plain"]
    [found] = check(story.log, replace(THREAD, decide=decide))
    ended = next(recorded for recorded in story.log if isinstance(recorded.event, e.StepEnded))
    assert (found.part, found.version, found.type) == ("decide", ended.version, "step.ended")
    assert (found.recorded, found.today) == ('step.ended with status "completed"', 'step.ended with status "failed"')


def test_a_decide_that_leaves_out_or_adds_an_event_is_found() -> None:
    story = STORIES["plain"]

    def silent(state: ThreadState, command: Any, at: datetime) -> list[Any]:
        return [one for one in THREAD.decide(state, command, at) if not isinstance(one, e.RunCompleted)]

    [found] = check(story.log, replace(THREAD, decide=silent))
    assert (found.type, found.version) == ("run.completed", story.log[-1].version)

    def chatty(state: ThreadState, command: Any, at: datetime) -> list[Any]:
        events = list(THREAD.decide(state, command, at))
        return [*events, e.RunModified(run_id="run_1", metadata={})] if len(events) == 5 else events

    [found] = check(story.log, replace(THREAD, decide=chatty))
    assert (found.type, found.today) == ("run.completed", 'after it run.modified {"run_id":"run_1","metadata":{}}')


def test_a_decide_that_refuses_or_raises_is_found() -> None:
    def refuse(state: ThreadState, command: Any, at: datetime) -> list[Any]:
        raise DomainError("No.")

    [found, *_] = check(STORIES["plain"].log, replace(THREAD, decide=refuse))
    assert (found.version, found.today) == (1, "CreateThread is refused: No.")

    def crash(state: ThreadState, command: Any, at: datetime) -> list[Any]:
        raise KeyError("x")

    [found, *_] = check(STORIES["plain"].log, replace(THREAD, decide=crash))
    assert found.today == "CreateThread raises KeyError: 'x'"


def test_an_evolve_that_raises_is_found_and_ends_the_check() -> None:
    def evolve(state: ThreadState, recorded: RecordedEvent[Any]) -> ThreadState:
        if isinstance(recorded.event, e.ModelCallFinished):
            raise RuntimeError("Broken.")
        return THREAD.evolve(state, recorded)

    [found] = check(STORIES["plain"].log, replace(THREAD, evolve=evolve))
    assert (found.part, found.type) == ("evolve", "model_call.finished")
    assert found.today == "raises RuntimeError: Broken.: the rest of the stream was not checked"


def test_a_state_with_another_hash_is_found() -> None:
    """A recording may have the hashes of states, so a change of `evolve` is found at its event."""
    story, check_ = STORIES["plain"], ThreadReplayCheck("thread_1", lambda _: "again")
    logged = []
    for recorded in story.log:
        list(check_.add([LoggedEvent(recorded, "older")]))
        logged.append(LoggedEvent(recorded, "older", check_.state_hash))

    def evolve(state: ThreadState, recorded: RecordedEvent[Any]) -> ThreadState:
        after = THREAD.evolve(state, recorded)
        is_start = isinstance(recorded.event, e.ModelCallStarted) and after.run is not None
        return replace(after, run=replace(after.run, calls=7)) if is_start and after.run else after

    same = ThreadReplayCheck("thread_1", lambda _: "again")
    assert [one for group in groups_of(logged) for one in same.add(group)] == []
    planted = ThreadReplayCheck("thread_1", lambda _: "again", replace(THREAD, evolve=evolve))
    found = [one for group in groups_of(logged) for one in planted.add(group)]
    assert (found[0].part, found[0].type) == ("evolve", "model_call.started")


def test_fields_that_older_software_did_not_have_are_explained() -> None:
    story = given(CREATE, add(), run(claim=claim()))
    story.do(stop("Hel"), after=600)
    expired = story.log[-1]
    assert isinstance(expired.event, e.RunExpired)
    older = replace(
        expired, event=e.RunExpired(run_id="run_1", expired_at=expired.event.expired_at, usage=expired.event.usage)
    )
    assert check([*story.log[:-1], older], software="older") == []
    from events.software_version import SOFTWARE_VERSION

    [found] = check([*story.log[:-1], older], software=SOFTWARE_VERSION)
    assert found.type == "run.expired"


def test_appends_at_the_same_time_are_parted() -> None:
    assert check(given(CREATE, add(), run(claim=claim()), finish("Hello."), run("run_2")).log) == []
