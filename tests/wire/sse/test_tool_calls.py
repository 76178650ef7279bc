"""Hosted tools on the wire, byte for byte (docs/behaviour.md, "Deltas"), in v2 and v1, streamed and over REST."""

from __future__ import annotations

from typing import Any

import pytest

from events.object_changes import initial_step, merge_step_fields, step_patch
from events.objects import Step
from events.thread import events as e
from events.thread.commands import FinishModelCall, FinishToolCall, PartialReply, StartToolCall
from service.deltas import MessageTextDelta, StepCallDelta, StepOutputDelta
from service.wire import v1, v2
from service.wire.api import Wire
from service.wire.query import SEARCH_RESULT_CONTENT
from service.wire.sse.run_stream import RunStream
from tests.events.thread.story import CREATE, USAGE, Story, claim, given, run, start, take
from tests.wire.sse.shorthand import BEGIN, CALL, COMPLETED, DELTA, MESSAGE, STEP
from tests.wire.sse.stream_rules import Watcher

RANKING = {"ranking_options": {"ranker": "default_2024_08_21", "score_threshold": 0.0}}
CODE = {"id": "call_1", "type": "code_interpreter", "name": "code_interpreter", "arguments": '{"code": "pie"}'}
SEARCH = {"id": "call_1", "type": "file_search", "name": "file_search", "arguments": "{}", "file_search": RANKING}
OUTPUTS = [{"type": "logs", "logs": "12"}, {"type": "image", "image": {"file_id": "file-i"}}]
FOUND = {"file_id": "file-n", "file_name": "notes.txt", "score": 0.5, "attributes": {}}
WHOLE = {**FOUND, "content": [{"type": "text", "text": "cake"}]}
AT = ("run_1", "step_t1", 1767225600, 0)
OUT = ("run_1", "step_t1", "call_1", 1)


def began_call() -> Story:
    return given(CREATE, run(claim=claim()))


def finish_model_call(call: dict[str, Any]) -> FinishModelCall:
    return FinishModelCall("run_1", 1, PartialReply(tool_calls=[call]), "tool_calls", "m-1", USAGE)


def finish_call(shown: dict[str, Any]) -> FinishToolCall:
    return FinishToolCall("run_1", 1, "call_1", 1, "finished", shown, "told")


def frames_since(story: Story, command: Any) -> list[Any]:
    known = len(story.log)
    story.do(command)
    return story.log[known:]


def calls(watcher: Watcher) -> list[Any]:
    return [data["delta"]["step_details"]["tool_calls"] for event, data in watcher.frames if event == CALL]


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("wire", [v1.WIRE, v2.WIRE])
def test_code(wire: Wire, live: bool) -> None:
    story = began_call()
    watcher = Watcher(RunStream(wire))
    watcher.see(story.log[1:])
    if live:
        kind = "code_interpreter"
        watcher.see([StepCallDelta(*AT, "call_1", kind, "", kind), StepCallDelta(*AT, None, None, "pie", kind)])
    watcher.see(frames_since(story, finish_model_call(CODE)))
    if live:
        watcher.see([StepOutputDelta(*OUT, 0, "1", None), StepOutputDelta(*OUT, 0, "2", None)])
    watcher.see(frames_since(story, finish_call({"outputs": OUTPUTS})))
    head = {"index": 0, "id": "call_1", "type": "code_interpreter"}
    more = {"index": 0, "type": "code_interpreter"}
    logs = ["1", "2"] if live else ["12"]
    assert calls(watcher) == [
        [{**head, "code_interpreter": {"input": "", "outputs": []}}],
        [{**more, "code_interpreter": {"input": "pie"}}],
        *([{**more, "code_interpreter": {"outputs": [{"index": 0, "type": "logs", "logs": text}]}}] for text in logs),
        [{**more, "code_interpreter": {"outputs": [{"index": 1, "type": "image", "image": {"file_id": "file-i"}}]}}],
    ]
    assert watcher.names[:5] == [*BEGIN, *STEP]
    assert watcher.names[-1] == "thread.run.step.completed"
    assert watcher.data("thread.run.step.completed")["step_details"] == {
        "type": "tool_calls",
        "tool_calls": [
            {"id": "call_1", "type": "code_interpreter", "code_interpreter": {"input": "pie", "outputs": OUTPUTS}}
        ],
    }


def test_search() -> None:
    story = began_call()
    watcher = Watcher(RunStream(v2.WIRE, include=frozenset({SEARCH_RESULT_CONTENT})))
    watcher.see(
        [
            *story.log[1:],
            *frames_since(story, finish_model_call(SEARCH)),
            *frames_since(story, finish_call({"results": [WHOLE]})),
        ]
    )
    begun = {"id": "call_1", "type": "file_search", "file_search": {**RANKING, "results": []}}
    assert calls(watcher) == [[{"index": 0, **begun}]]
    ended = watcher.data("thread.run.step.completed")["step_details"]["tool_calls"]
    assert ended == [{**begun, "file_search": {**RANKING, "results": [WHOLE]}}]


def test_retrieval() -> None:
    story = began_call()
    watcher = Watcher(RunStream(v1.WIRE))
    watcher.see(
        [
            *story.log[1:],
            *frames_since(story, finish_model_call(SEARCH)),
            *frames_since(story, finish_call({"results": [WHOLE]})),
        ]
    )
    shown = {"id": "call_1", "type": "retrieval", "retrieval": {}}
    assert calls(watcher) == [[{"index": 0, **shown}]]
    assert watcher.data("thread.run.step.completed")["step_details"]["tool_calls"] == [shown]


@pytest.mark.parametrize(("include", "result"), [(frozenset(), FOUND), (frozenset({SEARCH_RESULT_CONTENT}), WHOLE)])
def test_content_comes_only_where_it_is_asked_for(include: frozenset[str], result: dict[str, Any]) -> None:
    story = began_call()
    story.do(finish_model_call(SEARCH))
    story.do(finish_call({"results": [WHOLE]}))
    step = step_in_views(story)
    (call,) = v2.WIRE.render_step(step, include=include)["step_details"]["tool_calls"]
    assert call["file_search"] == {**RANKING, "results": [result]}


def step_in_views(story: Story) -> Step:
    """Returns the step as the views hold it."""
    created: Any = next(entry for entry in story.log if isinstance(entry.event, e.StepCreated))
    fields: dict[str, Any] = {}
    for entry in story.log:
        fields = merge_step_fields(fields, step_patch(entry.event) or {})
    step = initial_step(created)
    return Step(**{**{name: getattr(step, name) for name in Step.__slots__}, **fields})


CITED: dict[str, Any] = {"type": "file_citation", "text": "【4:0†notes.txt】", "start_index": 4, "end_index": 19}
QUOTED = {**CITED, "file_citation": {"file_id": "file-n", "quote": "cake"}}


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize(
    ("wire", "streamed", "stored"), [(v1.WIRE, {"quote": "cake"}, True), (v2.WIRE, {"quote": ""}, False)]
)
def test_images_and_annotations(wire: Wire, streamed: dict[str, str], stored: bool, live: bool) -> None:
    story = began_call()
    watcher = Watcher(RunStream(wire))
    watcher.see(story.log[1:])
    watcher.see(
        [
            *frames_since(story, finish_model_call(CODE)),
            *frames_since(story, finish_call({"outputs": OUTPUTS})),
            *frames_since(story, start("2")),
        ]
    )
    at = ("run_1", "msg_2", "step_m2", 1767225600)
    if live:
        watcher.see(
            [MessageTextDelta(*at, "Cake", images=("file-i",)), MessageTextDelta(*at, CITED["text"], annotation=QUOTED)]
        )
    attachment = {"file_id": "file-c", "tools": [{"type": "code_interpreter"}]}
    said = PartialReply("Cake【4:0†notes.txt】.", annotations=[QUOTED], images=["file-i"], attachments=[attachment])
    names = watcher.see(frames_since(story, FinishModelCall("run_1", 1, said, "stop", "m-1", USAGE)))
    image = {"type": "image_file", "image_file": {"file_id": "file-i"}}
    deltas = [data["delta"]["content"] for event, data in watcher.frames if event == DELTA]
    annotation = {"index": 0, **CITED, "file_citation": {"file_id": "file-n", **streamed}}
    if live:
        assert names == [DELTA, *COMPLETED]
        assert deltas == [
            [{"index": 0, **image}],
            [{"index": 1, "type": "text", "text": {"value": "Cake", "annotations": []}}],
            [{"index": 1, "type": "text", "text": {"value": CITED["text"], "annotations": [annotation]}}],
            [{"index": 1, "type": "text", "text": {"value": "."}}],
        ]
    else:
        assert names == [*MESSAGE, DELTA, DELTA, *COMPLETED]
        assert deltas[1] == [{"index": 1, "type": "text", "text": {"value": said.text, "annotations": [annotation]}}]
    message = watcher.data("thread.message.completed")
    kept = {"file_id": "file-n", **({"quote": "cake"} if stored else {})}
    text = {"value": said.text, "annotations": [{**CITED, "file_citation": kept}]}
    assert message["content"] == [image, {"type": "text", "text": text}]
    assert message.get("file_ids", message.get("attachments")) == (["file-c"] if wire is v1.WIRE else [attachment])


def test_another_attempts_outputs_are_not_told_twice() -> None:
    """Outputs that a dead process has sent stay, and the end of the step has the complete ones."""
    story = began_call()
    watcher = Watcher(RunStream(v2.WIRE))
    watcher.see([*story.log[1:], *frames_since(story, finish_model_call(CODE)), StepOutputDelta(*OUT, 0, "half", None)])
    watcher.see([*frames_since(story, take(2, dead=1)), *frames_since(story, StartToolCall("run_1", 2))])
    assert watcher.see([StepOutputDelta("run_1", "step_t1", "call_1", 2, 0, "12", None)]) == []
    again = FinishToolCall("run_1", 2, "call_1", 2, "finished", {"outputs": OUTPUTS}, "told")
    assert watcher.see(frames_since(story, again)) == ["thread.run.step.completed"]
    (call,) = watcher.data("thread.run.step.completed")["step_details"]["tool_calls"]
    assert call["code_interpreter"]["outputs"] == OUTPUTS
