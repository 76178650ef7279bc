"""Calls of hosted tools: they run one after another; then the client's outputs are requested, or the
model continues.
"""

from __future__ import annotations

from typing import Any

import pytest

from events.errors import StaleClaim
from events.object_changes import initial_step, merge_step_fields, step_patch
from events.thread import events as e
from events.thread.commands import (
    DeleteThread,
    FailRun,
    FinishModelCall,
    FinishToolCall,
    PartialReply,
    StartToolCall,
    StopRun,
)
from events.thread.state import HostedToolCall
from tests.events.thread.story import (
    CREATE,
    ERROR,
    USAGE,
    Story,
    cancel,
    claim,
    expire,
    given,
    run,
    single_event,
    start,
    take,
    types_of,
)

CODE = {"id": "call_c", "type": "code_interpreter", "name": "code_interpreter", "arguments": '{"code": "1"}'}
RANKING = {"ranking_options": {"ranker": "default_2024_08_21", "score_threshold": 0.0}}
SEARCH = {"id": "call_s", "type": "file_search", "name": "file_search", "arguments": "{}", "file_search": RANKING}
FUNCTION = {"id": "call_f", "name": "weather", "arguments": "{}"}
ASKED = {"id": "call_f", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
LOGS = {"outputs": [{"type": "logs", "logs": "1"}]}


def reply(*tool_calls: dict[str, Any], text: str = "") -> FinishModelCall:
    return FinishModelCall("run_1", 1, PartialReply(text, tool_calls=tool_calls), "tool_calls", "m-1", USAGE)


def run_with_hosted_call(*tool_calls: dict[str, Any], text: str = "") -> Story:
    """A story with a run whose first hosted call is open."""
    return given(CREATE, run(claim=claim()), reply(*tool_calls, text=text))


def result(call_id: str = "call_c", attempt: int = 1, epoch: int = 1, **more: Any) -> FinishToolCall:
    found: dict[str, Any] = {"outcome": "finished", "shown": LOGS, "output": "1", **more}
    return FinishToolCall("run_1", epoch, call_id, attempt, **found)


def test_a_hosted_call_starts_with_its_step() -> None:
    story = given(CREATE, run(claim=claim()))
    events = story.do(reply(CODE))
    assert types_of(events) == ["model_call.finished", "step.created", "tool_call.started"]
    assert single_event(events, e.StepCreated).tool_calls == [
        {
            "id": "call_c",
            "type": "code_interpreter",
            "function": {"name": "code_interpreter", "arguments": CODE["arguments"]},
        }
    ]
    assert story.run.status == "in_progress"
    assert story.run.step is not None
    assert story.run.step.open == HostedToolCall("call_c", "code_interpreter", 1)


def test_behind_its_result_the_step_ends_and_the_next_model_call_follows() -> None:
    story = run_with_hosted_call(CODE)
    assert types_of(story.do(result())) == ["tool_call.finished", "step.ended"]
    assert story.run.step is None
    assert types_of(story.do(start("2"))) == ["model_call.started"]
    assert (story.run.calls, story.run.tool_calls) == (2, 1)


def test_several_run_one_after_the_other() -> None:
    story = run_with_hosted_call(CODE, SEARCH)
    events = story.do(result())
    assert types_of(events) == ["tool_call.finished", "tool_call.started"]
    assert single_event(events, e.ToolCallStarted).call_id == "call_s"
    assert types_of(story.do(result("call_s", shown={"results": []}))) == ["tool_call.finished", "step.ended"]
    assert story.run.tool_calls == 2


def test_in_a_mixed_reply_the_client_is_asked_behind_them_for_its_functions_only() -> None:
    story = run_with_hosted_call(FUNCTION, CODE)
    assert story.run.status == "in_progress"
    events = story.do(result(functions=[ASKED]))
    assert types_of(events) == ["tool_call.finished", "run.requires_action"]
    assert single_event(events, e.RunRequiresAction).tool_calls == [ASKED]
    assert story.run.step is not None
    assert story.run.step.call_ids == ("call_f",)


def test_no_model_call_starts_while_a_hosted_call_is_open() -> None:
    story = run_with_hosted_call(CODE)
    assert story.do(start("2")) == []


@pytest.mark.parametrize("command", [result("call_x"), result(attempt=2), result(epoch=2)])
def test_a_result_of_what_is_not_open_is_stale(command: FinishToolCall) -> None:
    with pytest.raises(StaleClaim):
        run_with_hosted_call(CODE).do(command)


def test_a_result_comes_once() -> None:
    story = run_with_hosted_call(CODE)
    story.do(result())
    with pytest.raises(StaleClaim):
        story.do(result())


def test_a_call_whose_process_died_starts_again_as_the_next_attempt() -> None:
    story = run_with_hosted_call(CODE)
    story.do(take(2, dead=1))
    assert single_event(story.do(StartToolCall("run_1", 2)), e.ToolCallStarted).attempt == 2
    assert story.run.tool_calls == 1
    with pytest.raises(StaleClaim):
        story.do(result())
    assert types_of(story.do(result(attempt=2, epoch=2, outcome="lost"))) == ["tool_call.finished", "step.ended"]


STOPPED = ["tool_call.stopped", "step.ended"]


def test_a_cancel_stops_the_open_call_and_keeps_what_was_seen() -> None:
    story = run_with_hosted_call(CODE, SEARCH)
    assert types_of(story.do(cancel())) == ["run.cancelling"]
    events = story.do(StopRun("run_1", 1, PartialReply(), e.Usage(), LOGS))
    assert types_of(events) == [*STOPPED, "run.cancelled"]
    assert single_event(events, e.ToolCallStopped).shown == LOGS
    assert single_event(events, e.StepEnded).status == "cancelled"
    assert single_event(events, e.RunCancelled).usage == USAGE


def test_a_result_that_a_cancel_overtook_is_kept_and_nothing_more_begun() -> None:
    story = run_with_hosted_call(CODE, SEARCH)
    story.do(cancel())
    events = story.do(result())
    assert types_of(events) == ["tool_call.finished", "step.ended", "run.cancelled"]


def test_a_start_that_a_cancel_overtook_is_nothing() -> None:
    story = run_with_hosted_call(CODE)
    story.do(cancel())
    assert story.do(StartToolCall("run_1", 1)) == []


def test_expiry_failure_and_the_threads_end_stop_it_too() -> None:
    assert types_of(run_with_hosted_call(CODE).do(expire(), after=601)) == [*STOPPED, "run.expired"]
    events = run_with_hosted_call(CODE).do(FailRun("run_1", 1, ERROR, LOGS))
    assert types_of(events) == [*STOPPED, "run.failed"]
    assert single_event(events, e.ToolCallStopped).shown == LOGS
    assert types_of(run_with_hosted_call(CODE).do(DeleteThread())) == [
        "run.cancelling",
        *STOPPED,
        "run.cancelled",
        "thread.deleted",
    ]


def test_a_reply_cut_off_in_a_hosted_call_runs_nothing() -> None:
    story = given(CREATE, run(claim=claim()))
    said = PartialReply(tool_calls=[CODE])
    events = story.do(FinishModelCall("run_1", 1, said, "length", "m-1", USAGE))
    assert types_of(events) == ["model_call.finished", "step.created", "step.ended", "run.incomplete"]


def test_a_step_shows_results_as_they_come() -> None:
    story = run_with_hosted_call(CODE, SEARCH)
    story.do(result())
    found = {"results": [{"file_id": "file-1", "score": 0.5}]}
    story.do(result("call_s", shown=found))
    created = next(entry for entry in story.log if isinstance(entry.event, e.StepCreated))
    step = initial_step(created)  # type: ignore[arg-type]
    fields: dict[str, Any] = {"results": step.results}
    for entry in story.log:
        fields = merge_step_fields(fields, step_patch(entry.event) or {})
    assert {id: one["shown"] for id, one in fields["results"].items()} == {"call_c": LOGS, "call_s": found}


def test_images_and_files_come_with_the_next_message() -> None:
    attachment = {"file_id": "file-2", "tools": [{"type": "code_interpreter"}]}
    annotation = {
        "type": "file_path",
        "text": "x",
        "start_index": 0,
        "end_index": 1,
        "file_path": {"file_id": "file-2"},
    }
    story = run_with_hosted_call(CODE)
    story.do(result())
    story.do(start("2"))
    said = PartialReply("x", annotations=[annotation], images=["file-1"], attachments=[attachment])
    events = story.do(FinishModelCall("run_1", 1, said, "stop", "m-1", USAGE))
    written = single_event(events, e.MessageWritten)
    assert written.content == [
        {"type": "image_file", "image_file": {"file_id": "file-1"}},
        {"type": "text", "text": {"value": "x", "annotations": [annotation]}},
    ]
    assert written.attachments == [attachment]
    assert single_event(events, e.RunCompleted).usage == USAGE + USAGE
