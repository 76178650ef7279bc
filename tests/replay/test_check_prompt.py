"""Recorded requests of model calls are rendered again; a change of the rendering is found at the event that has it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import orjson
import pytest

from events.envelope import RecordedEvent
from events.thread import events as e
from events.thread.state import evolve
from service.replay import check_thread
from service.replay.call_prompts import PromptFold
from service.replay.check_stream import groups_of
from service.replay.check_thread import ThreadReplayCheck
from service.replay.deviations import Deviation, LoggedEvent
from service.replay.prompt_rendering import render_prompt
from service.replay.recorded_events import parse_line
from service.replay.run_recorder import record_lines
from service.runs import prompt as prompts
from service.runs.prompt_records import RENDERER
from tests.events.thread.story import CREATE, Story, add, claim, finish, given, run, submit

FACTS: dict[str, Any] = {"renderer": RENDERER, "sha256": "", "bytes": 0, "model": "gpt-up", "room": 1000}


def recorded_story(**facts: Any) -> list[LoggedEvent]:
    """A run with two model calls, each with the record of its request."""
    story = given(CREATE, add("How is the weather?"))
    story.do(run(claim=claim()), after=1)
    story.do(finish("I look.", "a"), after=2)
    story.do(submit("a", claim=claim(first="2")), after=3)
    story.do(finish("Rain.", epoch=2), after=4)
    return [LoggedEvent(recorded, "older") for recorded in with_records(story, **facts)]


def with_records(story: Story, **facts: Any) -> list[RecordedEvent[Any]]:
    """The log of the story, with the records of the requests that follow from it."""
    fold, log = PromptFold(), list[RecordedEvent[Any]]()
    replay = Story()
    for recorded in story.log:
        event = recorded.event
        if isinstance(event, e.ModelCallFinished):
            event = event.model_copy(update={"prompt": e.PromptRecord(**FACTS | facts)})
            call = fold.add(replace(recorded, event=event), replay.state)
            assert call is not None
            body = render_prompt(call).body
            known = {"sha256": hashlib.sha256(body).hexdigest(), "bytes": len(body)}
            event = event.model_copy(update={"prompt": e.PromptRecord(**FACTS | known | facts)})
            log.append(replace(recorded, event=event))
        else:
            log.append(recorded)
        replay.state = evolve(replay.state, log[-1])
        if not isinstance(event, e.ModelCallFinished):
            fold.add(recorded, replay.state)
    return log


def check(events: list[LoggedEvent]) -> tuple[list[Deviation], ThreadReplayCheck]:
    checked = ThreadReplayCheck("thread_1", lambda _: "again")
    return [found for group in groups_of(events) for found in checked.add(group)], checked


def as_recording(events: list[LoggedEvent], *, has_texts: bool = True) -> list[LoggedEvent]:
    return [parse_line(line) for line in record_lines(events, has_texts=has_texts)]


def shout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plants a change: the instructions are sent in capitals."""
    original = prompts.system_message

    def loud(*given: Any) -> prompts.Unit:
        return [{**message, "content": message["content"].upper()} for message in original(*given)]

    monkeypatch.setattr(prompts, "system_message", loud)


def test_requests_that_are_the_same() -> None:
    found, checked = check(recorded_story())
    assert (found, checked.prompts, checked.unchecked_prompts) == ([], 2, 0)


def test_a_planted_change_of_the_prompt_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    events = recorded_story()
    shout(monkeypatch)
    found, checked = check(events)
    ends = [one.recorded.version for one in events if isinstance(one.recorded.event, e.ModelCallFinished)]
    assert [(one.part, one.type, one.version) for one in found] == [
        ("prompt", "model_call.finished", version) for version in ends
    ]
    assert found[0].recorded.startswith("a request of ")
    assert found[0].today.startswith("one of ")
    assert found[0].diff == ()
    assert checked.prompts == 2


def test_a_recording_shows_the_difference_as_a_unified_diff(monkeypatch: pytest.MonkeyPatch) -> None:
    events = as_recording(recorded_story())
    assert check(events)[0] == []
    assert orjson.loads(next(one.request for one in events if one.request))["messages"][0]["content"] == "Be brief."
    shout(monkeypatch)
    found, _ = check(events)
    assert found[0].diff[:2] == ("--- recorded", "+++ today")
    assert '-      "content": "Be brief."' in found[0].diff
    assert '+      "content": "BE BRIEF."' in found[0].diff


def test_a_rendering_that_raises_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    events = recorded_story()

    def crash(*_: Any) -> Any:
        raise KeyError("content")

    monkeypatch.setattr(prompts, "system_message", crash)
    assert [one.today for one in check(events)[0]] == ["raises KeyError: 'content'"] * 2


@pytest.mark.parametrize("facts", [{"images": {"file-1": "00"}, "vision": True}, {"is_cut": True}, {"body": "{}"}])
def test_requests_that_the_log_does_not_determine_are_counted(facts: dict[str, Any]) -> None:
    """The hash is of a request with images, or of one that was rendered from more than the log."""
    found, checked = check(recorded_story(sha256="0" * 64, **facts))
    assert (found, checked.prompts, checked.unchecked_prompts) == ([], 0, 2)


def test_a_long_history_is_not_rendered_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_thread, "MAX_PROMPT_BYTES", 0)
    found, checked = check(recorded_story())
    assert (found, checked.prompts, checked.unchecked_prompts) == ([], 0, 2)


@pytest.mark.parametrize("has_texts", [True, False])
def test_a_recording_has_the_requests_that_follow_from_it(has_texts: bool) -> None:
    story = given(CREATE, add("My key is sk-0123456789abcdefghij."))
    story.do(run(claim=claim()), after=1)
    story.do(finish("Hello."), after=2)
    events = as_recording([LoggedEvent(one, "older") for one in with_records(story)], has_texts=has_texts)
    found, checked = check(events)
    assert (found, checked.prompts) == ([], 1)
    [request] = [one.request for one in events if one.request is not None]
    assert "sk-0123" not in request
    assert ("[openai_key]" in request) is has_texts


def test_a_recording_leaves_out_requests_that_differ() -> None:
    events = as_recording(recorded_story(sha256="0" * 64, body='{"key": "sk-0123456789abcdefghij"}'))
    assert not any(getattr(one.recorded.event, "prompt", None) or one.request for one in events)
    assert check(events)[0] == []
