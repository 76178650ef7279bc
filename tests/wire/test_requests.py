"""Laws of requests: bodies that a document allows are accepted, and all other bodies lead to a 400 at most."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.errors import NotFound, Rejection
from events.objects import Assistant
from events.thread.run_settings import run_settings
from service.wire import fields, messages, requests, v1, v2
from service.wire.api import Wire
from tests.clock import IDS
from tests.wire import bodies
from tests.wire.documents import find_problems, properties

WIRES: dict[str, Wire] = {"v1": v1.WIRE, "v2": v2.WIRE}
SCHEMAS: dict[str, dict[str, type[fields.RequestBody]]] = {
    "v1": {
        "CreateAssistantRequest": requests.AssistantV1,
        "ModifyAssistantRequest": requests.AssistantChangeV1,
        "CreateThreadRequest": requests.ThreadV1,
        "ModifyThreadRequest": requests.MetadataChange,
        "CreateMessageRequest": messages.MessageV1,
        "ModifyMessageRequest": requests.MetadataChange,
        "CreateRunRequest": requests.RunV1,
        "CreateThreadAndRunRequest": requests.ThreadAndRunV1,
        "ModifyRunRequest": requests.MetadataChange,
        "SubmitToolOutputsRunRequest": requests.Outputs,
    },
    "v2": {
        "CreateAssistantRequest": requests.Assistant,
        "ModifyAssistantRequest": requests.AssistantChange,
        "CreateThreadRequest": requests.Thread,
        "ModifyThreadRequest": requests.ThreadChange,
        "CreateMessageRequest": messages.Message,
        "ModifyMessageRequest": requests.MetadataChange,
        "CreateRunRequest": requests.Run,
        "CreateThreadAndRunRequest": requests.ThreadAndRun,
        "ModifyRunRequest": requests.MetadataChange,
        "SubmitToolOutputsRunRequest": requests.Outputs,
    },
}
VERSIONS = pytest.mark.parametrize("version", ["v1", "v2"])


@pytest.mark.parametrize(("version", "schema"), [(v, schema) for v in SCHEMAS for schema in SCHEMAS[v]])
def test_requests_have_the_documents_fields(version: str, schema: str) -> None:
    assert set(SCHEMAS[version][schema].model_fields) == properties(version, schema)


def parsers(wire: Wire) -> dict[str, Callable[[Any], Any]]:
    return {
        "CreateAssistantRequest": wire.parse_new_assistant,
        "ModifyAssistantRequest": wire.parse_assistant_changes,
        "CreateThreadRequest": partial(wire.parse_new_thread, ids=IDS),
        "ModifyThreadRequest": wire.parse_thread_changes,
        "CreateMessageRequest": partial(wire.parse_new_message, ids=IDS),
        "ModifyMessageRequest": wire.parse_metadata_change,
        "CreateRunRequest": partial(wire.parse_new_run, ids=IDS),
        "CreateThreadAndRunRequest": partial(wire.parse_new_thread_and_run, ids=IDS),
        "SubmitToolOutputsRunRequest": wire.parse_tool_outputs,
    }


def valid(version: str, schema: str) -> bodies.Bodies:
    made: dict[str, bodies.Bodies] = {
        "CreateAssistantRequest": bodies.assistants(version),
        "ModifyAssistantRequest": bodies.assistants(version),
        "CreateThreadRequest": bodies.threads(version),
        "ModifyThreadRequest": bodies.body({}, metadata=bodies.metadata),
        "CreateMessageRequest": bodies.MESSAGES[version],
        "ModifyMessageRequest": bodies.body({}, metadata=bodies.metadata),
        "CreateRunRequest": bodies.runs(version),
        "CreateThreadAndRunRequest": bodies.threads_and_runs(version),
        "SubmitToolOutputsRunRequest": bodies.outputs,
    }
    return made[schema]


ALL = [(version, schema) for version in WIRES for schema in parsers(v2.WIRE)]
# Null, though the document wants a value or no key. The service accepts it, and so does our server.
_LOOSER = {"metadata", "tool_choice", "response_format", "truncation_strategy"}


def _strict(body: Any) -> Any:
    return {key: value for key, value in body.items() if value is not None or key not in _LOOSER}


@pytest.mark.slow
@pytest.mark.parametrize(("version", "schema"), ALL)
@settings(max_examples=20)
@given(data=st.data())
def test_what_the_document_allows_is_taken(version: str, schema: str, data: st.DataObject) -> None:
    body = data.draw(valid(version, schema))
    assert find_problems(version, schema, _strict(body)) == []
    parsers(WIRES[version])[schema](body)


wild = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("\ud800") | st.just("a\x00"),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(max_size=3)
            | st.sampled_from(
                [
                    "type",
                    "function",
                    "name",
                    "tools",
                    "content",
                    "role",
                    "metadata",
                    "messages",
                    "thread",
                    "model",
                    "text",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def break_somewhere(data: st.DataObject, value: Any) -> Any:
    """Draws the value with one of its parts replaced, or with one more key."""
    if isinstance(value, dict) and value and data.draw(st.booleans()):
        key = data.draw(st.sampled_from(list(value)))
        return {**value, key: break_somewhere(data, value[key])}
    if isinstance(value, dict) and data.draw(st.booleans()):
        return {**value, data.draw(st.text(max_size=4)): data.draw(wild)}
    if isinstance(value, list) and value and data.draw(st.booleans()):
        place = data.draw(st.integers(0, len(value) - 1))
        return [*value[:place], break_somewhere(data, value[place]), *value[place + 1 :]]
    return data.draw(wild)


@pytest.mark.slow
@pytest.mark.parametrize(("version", "schema"), ALL)
@settings(max_examples=80)
@given(data=st.data())
def test_any_body_is_taken_or_refused_in_the_apis_words(version: str, schema: str, data: st.DataObject) -> None:
    body = data.draw(wild | valid(version, schema).map(lambda found: break_somewhere(data, found)))
    said = "taken"
    try:
        parsers(WIRES[version])[schema](body)
    except (Rejection, NotFound) as refused:
        said = refused.message + (refused.param or "")
    # The answer repeats parts of the request, and must be valid text.
    assert 0 < len(said.encode()) < 4_000


@pytest.mark.slow
@VERSIONS
def test_depth_and_size_have_bounds(version: str) -> None:
    wire, deep = WIRES[version], "x"
    for _ in range(100_000):
        deep = [deep]  # type: ignore[assignment]
    for parse in parsers(wire).values():
        with pytest.raises(Rejection):
            parse({"metadata": {"k": deep}, "model": deep, "messages": deep, "assistant_id": deep, "k" * 10**6: 1})


def _assistant(settings: dict[str, Any]) -> Assistant:
    return Assistant(id="asst_1", created_at=1, **settings)


@pytest.mark.slow
@VERSIONS
@settings(max_examples=40)
@given(data=st.data())
def test_an_assistant_is_shown_as_it_was_asked_for(version: str, data: st.DataObject) -> None:
    wire, body = WIRES[version], data.draw(bodies.assistants(version))
    shown = wire.render_assistant(_assistant(wire.parse_new_assistant(body)))
    assert find_problems(version, "AssistantObject", shown) == []
    for key, value in body.items():
        if value is not None and key not in ("tools", "tool_resources", "response_format"):
            assert shown[key] == value
    assert [tool["type"] for tool in shown["tools"]] == [tool["type"] for tool in body.get("tools", [])]
    for asked, tool in zip(body.get("tools", []), shown["tools"], strict=True):
        if tool["type"] == "function":
            wanted = {key: value for key, value in asked["function"].items() if value is not None}
            assert {**tool["function"], **wanted} == tool["function"]
    asked_format = body.get("response_format")
    assert shown["response_format"] == ("auto" if asked_format in (None, "none") else asked_format)


@pytest.mark.slow
@VERSIONS
@settings(max_examples=40)
@given(data=st.data())
def test_what_was_shown_can_be_asked_for_again(version: str, data: st.DataObject) -> None:
    """An assistant that is created from the answer of another equals it, since clients copy assistants like this."""
    wire = WIRES[version]
    first = wire.render_assistant(_assistant(wire.parse_new_assistant(data.draw(bodies.assistants(version)))))
    copied = {key: value for key, value in first.items() if key not in ("id", "object", "created_at")}
    assert wire.render_assistant(_assistant(wire.parse_new_assistant(copied))) == first


@pytest.mark.slow
@VERSIONS
@settings(max_examples=40)
@given(data=st.data())
def test_a_run_has_its_assistants_settings_under_its_own(version: str, data: st.DataObject) -> None:
    wire = WIRES[version]
    assistant = _assistant(wire.parse_new_assistant(data.draw(bodies.assistants(version))))
    body = data.draw(bodies.runs(version))
    asked = wire.parse_new_run(body, IDS)
    assert set(asked.overrides) == {
        key
        for key, value in body.items()
        if value is not None and key not in ("assistant_id", "stream", "additional_instructions", "additional_messages")
    }
    # Other tests cover a tool choice that names a tool which the run lacks.
    overrides = {key: value for key, value in asked.overrides.items() if key != "tool_choice"}
    found = run_settings(assistant, overrides, asked.additional_instructions)
    assert found.model == (body.get("model") or assistant.model)
    assert found.temperature == (assistant.temperature if body.get("temperature") is None else body["temperature"])
    added = asked.additional_instructions
    assert not added or (found.instructions or "").endswith(added)
    assert [message.role for message in asked.additional_messages] == [
        message["role"] for message in body.get("additional_messages") or []
    ]
