"""The corpus: recorded runs of every kind, on which today's software acts as the software that recorded them.

`scripts/record_run` adds runs to it. A deviation here is a change of behaviour for runs that exist: it is a fault,
or it is wanted, and then the recording is made again.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from events.thread import decide as deciding
from events.thread import events as e
from events.thread import runs
from scripts.record_corpus import CORPUS, KINDS
from service.replay.check_history import HistoryCheck, check_file
from service.replay.check_prompt import has_prompt
from service.replay.deviations import Deviation, LoggedEvent
from service.replay.recorded_events import read_file
from service.replay.redaction import replace_secrets
from service.replay.run_timeline import RunTimeline
from service.runs import plan as planning
from service.runs import prompt as prompts

FILES = sorted(CORPUS.glob("*.jsonl"))


def check(path: Path) -> list[Deviation]:
    return list(check_file(HistoryCheck(lambda _: "again"), path, lambda: None))


def load(kind: str) -> list[LoggedEvent]:
    events = list(read_file(CORPUS / f"{kind}.jsonl"))
    assert all(isinstance(event, LoggedEvent) for event in events)
    return events  # type: ignore[return-value]


def contents(kind: str) -> list[Any]:
    return [logged.recorded.event for logged in load(kind)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_today_s_software_acts_the_same(path: Path) -> None:
    assert check(path) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_run_has_its_timeline(path: Path) -> None:
    """Each event of a run is in its timeline once, and the run has ended."""
    recorded = [logged.recorded for logged in load(path.stem)]
    for run_id in {one.event.run_id for one in recorded if isinstance(one.event, e.RunCreated)}:
        timeline = RunTimeline(recorded[0].stream_id, run_id, lambda _: "again")
        entries = list(timeline.add(recorded))
        of_run = [one.version for one in recorded if getattr(one.event, "run_id", None) == run_id]
        assert [entry.recorded.version for entry in entries] == of_run
        assert timeline.has_ended
        assert all(entry.summary is not None for entry in entries)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_recordings_hold_no_secrets(path: Path) -> None:
    text = path.read_text()
    assert replace_secrets(text) == text


def test_every_kind_is_recorded() -> None:
    assert set(KINDS) <= {path.stem for path in FILES}


def _has(*kinds: type[Any]) -> Callable[[list[Any]], bool]:
    return lambda events: all(any(isinstance(event, kind) for event in events) for kind in kinds)


def _count(kind: type[Any], least: int) -> Callable[[list[Any]], bool]:
    return lambda events: sum(isinstance(event, kind) for event in events) >= least


MARKS: dict[str, Callable[[list[Any]], bool]] = {
    "text": _has(e.MessageWritten, e.RunCompleted),
    "embedded": _has(e.MessageWritten, e.RunCompleted),
    "functions": _has(e.ToolOutputsSubmitted, e.RunCompleted),
    "parallel": lambda events: any(isinstance(one, e.ToolOutputsSubmitted) and len(one.outputs) == 3 for one in events),
    "code": _count(e.ToolCallFinished, 2),
    "search": lambda events: any(isinstance(one, e.ToolCallFinished) and one.citations for one in events),
    "cancelled": _has(e.RunCancelling, e.ModelCallStopped, e.RunCancelled),
    "expired": _has(e.ModelCallStopped, e.RunExpired),
    "expired_waiting": _has(e.RunRequiresAction, e.RunExpired),
    "failed": _has(e.ModelCallFailed, e.RunFailed),
    "retried": _count(e.ModelCallFailed, 2),
    "incomplete": _has(e.RunIncomplete),
    "resumed": _count(e.RunClaimed, 2),
    "released": _has(e.RunReleased, e.RunCompleted),
    "queued": _has(e.RunAdmitted, e.RunCompleted),
    "v1": lambda events: any(isinstance(one, e.MessageAdded) and one.attachments for one in events),
    "truncated": lambda events: any(
        isinstance(one, e.ModelCallFinished) and one.prompt is not None and one.prompt.dropped for one in events
    ),
    "last_messages": lambda events: any(
        isinstance(one, e.RunCreated) and one.truncation_strategy["last_messages"] == 2 for one in events
    ),
    "imported": _has(e.MessageImported, e.RunImported, e.StepImported, e.RunCompleted),
    "edited": _has(e.ThreadModified, e.MessageModified, e.MessageDeleted, e.RunModified),
}


@pytest.mark.parametrize("kind", KINDS)
def test_recordings_are_of_their_kind(kind: str) -> None:
    assert MARKS[kind](contents(kind))


def test_a_plan_that_gives_up_sooner_is_found_at_its_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "MAX_SHOWN_ATTEMPTS", 2)
    [found] = [one for path in FILES for one in check(path)]
    third = next(
        logged.recorded
        for logged in load("retried")
        if isinstance(logged.recorded.event, e.ModelCallStarted) and logged.recorded.event.attempt == 3
    )
    assert (found.part, found.stream_id, found.version) == ("plan", third.stream_id, third.version)
    assert found.today.startswith("end the run as failed: server_error")


def test_a_queue_that_admits_no_run_is_found_at_its_event(monkeypatch: pytest.MonkeyPatch) -> None:
    def admit_none(*_: Any) -> list[Any]:
        return []

    monkeypatch.setattr(deciding, "admit_next_run", admit_none)
    [found, *_] = [one for path in FILES for one in check(path)]
    assert (found.part, found.type) == ("decide", "run.admitted")
    assert found.stream_id == load("queued")[0].recorded.stream_id


def test_a_change_of_the_time_of_expiry_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    original = runs.decide_supervisor

    def patient(state: Any, command: Any, at: datetime) -> list[Any]:
        return [one for one in original(state, command, at) if not isinstance(one, e.RunExpired)]

    monkeypatch.setattr(deciding, "decide_supervisor", patient)
    found = [one for path in FILES for one in check(path)]
    assert [(one.part, one.type, one.stream_id) for one in found] == [
        ("decide", "run.expired", load("expired_waiting")[0].recorded.stream_id)
    ]


# Runs whose prompt has a message that was deleted since: its content, and so the request, is not recorded.
WITHOUT_REQUEST = ("edited",)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in WITHOUT_REQUEST])
def test_each_request_is_recorded(kind: str) -> None:
    check_ = HistoryCheck(lambda _: "again")
    assert list(check_file(check_, CORPUS / f"{kind}.jsonl", lambda: None)) == []
    ends = [logged for logged in load(kind) if has_prompt(logged.recorded.event)]
    assert all(logged.request for logged in ends)
    assert check_.progress.prompts == len(ends) > 0
    assert check_.progress.unchecked_prompts == 0


def test_a_change_of_the_prompt_is_found_with_its_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    original = prompts.system_message

    def polite(*given: Any) -> prompts.Unit:
        return [{**message, "content": message["content"] + " Please."} for message in original(*given)]

    monkeypatch.setattr(prompts, "system_message", polite)
    found = check(CORPUS / "functions.jsonl")
    assert [(one.part, one.type) for one in found] == [("prompt", "model_call.finished")] * 2
    assert '-      "content": "Be brief."' in found[0].diff
    assert '+      "content": "Be brief. Please."' in found[0].diff
