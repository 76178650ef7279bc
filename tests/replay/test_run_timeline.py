"""The timeline of a run has each of its events once, and the action that the server took next."""

from __future__ import annotations

from datetime import timedelta
from random import Random

import pytest

from events.envelope import RecordedEvent
from events.errors import DomainError
from events.event_log import number_events
from events.thread import events as e
from events.thread.decide import decide
from events.thread.state import ThreadState
from service.replay.run_timeline import RunTimeline, TimelineEntry, appends_of
from service.runs.plan import Exhaust, Fail, PerformCall, Rest, StartCall, Stop
from tests.events.thread.histories import World
from tests.events.thread.story import (
    CREATE,
    ORIGIN,
    T0,
    Story,
    add,
    break_call,
    cancel,
    claim,
    finish,
    given,
    run,
    start,
    stop,
    submit,
    take,
)
from tests.events.thread.test_imports import COMMAND as IMPORT


def timeline(story: Story, run_id: str = "run_1") -> list[TimelineEntry]:
    return list(RunTimeline(story.state.id, run_id, lambda _: "again").add(story.log))


def by_type(entries: list[TimelineEntry], type: str) -> list[TimelineEntry]:
    return [entry for entry in entries if entry.recorded.event.type == type]


def test_a_plain_run() -> None:
    story = given(CREATE, add("Hi"))
    story.do(run(claim=claim()), after=1)
    story.do(finish("Hello."), after=3.5)
    entries = timeline(story)
    assert [entry.recorded.event.type for entry in entries] == [
        "run.created",
        "run.claimed",
        "run.started",
        "model_call.started",
        "model_call.finished",
        "step.created",
        "message.written",
        "step.ended",
        "run.completed",
    ]
    assert [entry.gap_s for entry in entries if entry.gap_s] == [2.5]
    assert [entry.action for entry in entries if entry.action is not None] == [PerformCall()]
    assert not any(entry.is_failure for entry in entries)
    [written] = by_type(entries, "message.written")
    assert written.summary.endswith(": Hello.")


def test_a_run_with_a_function() -> None:
    story = given(CREATE, add("Hi"), run(claim=claim()), finish("", "call_1"))
    entries = timeline(story)
    assert entries[-1].action == Rest()
    assert by_type(entries, "run.requires_action")[0].summary == "call_1 weather({})"
    story.do(submit("call_1", claim=claim(first="2")))
    assert timeline(story)[-1].action == PerformCall()


def test_a_broken_call_and_its_next_attempt() -> None:
    story = given(CREATE, add("Hi"), run(claim=claim()), break_call("A part"))
    entries = timeline(story)
    [failed] = by_type(entries, "model_call.failed")
    assert failed.is_failure
    assert "server_error: The upstream broke., clients saw a part" in failed.summary
    assert entries[-1].action == StartCall(0.5)
    story.do(start("2"))
    assert timeline(story)[-1].action == PerformCall()


def test_a_takeover_is_a_failure_and_the_call_is_made_again() -> None:
    story = given(CREATE, add("Hi"), run(claim=claim(process=1)))
    story.do(take(process=2, dead=1))
    last = timeline(story)[-1]
    assert (last.recorded.event.type, last.is_failure) == ("run.claimed", True)
    assert last.action == StartCall()
    assert last.action_text == "start an attempt at a model call"


def test_the_ends_of_runs() -> None:
    story = given(CREATE, add("Hi"), run(claim=claim()))
    story.do(cancel())
    assert timeline(story)[-1].action == Stop()
    story.do(stop())
    assert timeline(story)[-1].action is None
    story = given(CREATE, add("Hi"), run(claim=claim(), max_completion_tokens=3), finish("", "call_1"))
    story.do(submit("call_1", claim=claim(first=None)))
    assert timeline(story)[-1].action == Exhaust("max_completion_tokens")
    story = given(CREATE, add("Hi"), run(claim=claim()), break_call())
    assert isinstance(timeline(story)[-1].action, Fail)


@pytest.mark.parametrize("seed", range(20))
def test_random_histories(seed: int) -> None:
    """Each event of a run is in its timeline once, wherever a reader cuts the log, and the state is that of the log."""
    world = World(Random(seed), "thread_1", lifetimes=(0, 600, 600, 600))
    log: list[RecordedEvent[e.ThreadEvent]] = []
    story = Story()
    for _ in range(60):
        try:
            story.do(world.next_command())
        except DomainError:
            continue
        world.absorb(story.log[len(log) :])
        log = list(story.log)
    for run_id in {getattr(recorded.event, "run_id", None) for recorded in log} - {None}:
        whole = RunTimeline("thread_1", str(run_id), lambda _: "again")
        entries = list(whole.add(log))
        assert [entry.recorded for entry in entries] == [
            recorded for recorded in log if getattr(recorded.event, "run_id", None) == run_id
        ]
        assert all(entry.gap_s >= 0 for entry in entries)
        assert whole.state == story.state
        piecewise = RunTimeline("thread_1", str(run_id), lambda _: "again")
        assert [entry for append in appends_of(log) for entry in piecewise.add(append)] == entries


def test_appends_differ_in_time_or_origin() -> None:
    story = given(CREATE, add("Hi"))
    story.do(add("Ho", "msg_2"), after=timedelta(seconds=1).total_seconds())
    assert [len(append) for append in appends_of(story.log)] == [2, 1]


def test_a_run_that_was_copied_has_ended() -> None:
    events = decide(ThreadState("thread_2"), IMPORT, T0)
    copied = RunTimeline("thread_2", "run_1", lambda _: "again")
    entries = list(copied.add(number_events("thread_2", 0, events, T0, ORIGIN)))
    assert [entry.recorded.event.type for entry in entries] == ["run.imported", "step.imported", "message.imported"]
    assert copied.has_ended
    assert entries[0].summary == "copied: m, completed"
