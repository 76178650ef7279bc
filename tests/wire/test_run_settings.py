"""The settings of a run: those of its assistant, overridden by the request."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from events.errors import Rejection
from events.objects import Assistant
from events.thread.run_settings import MAX_RUN_TOOLS, run_settings

FUNCTION = {"type": "function", "function": {"name": "weather", "parameters": {}, "strict": False}}
SEARCH, CODE = {"type": "file_search"}, {"type": "code_interpreter"}
ASSISTANT = Assistant(
    id="asst_1",
    created_at=1,
    model="m-1",
    name=None,
    description=None,
    instructions="Be brief.",
    tools=[FUNCTION, SEARCH],
    tool_resources={"code_interpreter": {"file_ids": []}},
    metadata={"of": "assistant"},
    temperature=0.5,
    top_p=0.5,
    response_format="auto",
    reasoning_effort="low",
)


def test_the_assistants_where_nothing_is_said() -> None:
    found = run_settings(ASSISTANT, {}, None)
    for name in ("model", "instructions", "tools", "tool_resources", "temperature", "top_p", "reasoning_effort"):
        assert getattr(found, name) == getattr(ASSISTANT, name)
    assert (found.assistant_id, found.metadata) == ("asst_1", {})
    assert (found.tool_choice, found.parallel_tool_calls) == ("auto", True)
    assert found.truncation_strategy == {"type": "auto", "last_messages": None}
    assert (found.max_prompt_tokens, found.max_completion_tokens) == (None, None)


def test_a_default_value_counts_as_set_if_a_client_gave_it() -> None:
    assert run_settings(ASSISTANT, {}, None).explicit_defaults == []
    given = {"temperature": 1, "top_p": 0.5, "parallel_tool_calls": True}
    assert run_settings(ASSISTANT, given, None).explicit_defaults == ["temperature", "parallel_tool_calls"]
    explicit = replace(ASSISTANT, temperature=1.0, top_p=1.0, explicit_defaults=["temperature", "top_p"])
    assert run_settings(explicit, {}, None).explicit_defaults == ["temperature", "top_p"]
    assert run_settings(explicit, {"top_p": 0.5}, None).explicit_defaults == ["temperature"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model", "m-2"),
        ("instructions", ""),
        ("tools", []),
        ("tool_resources", {}),
        ("metadata", {"of": "run"}),
        ("temperature", 0.0),
        ("top_p", 0.0),
        ("reasoning_effort", "high"),
        ("response_format", {"type": "json_object"}),
        ("tool_choice", "none"),
        ("parallel_tool_calls", False),
        ("truncation_strategy", {"type": "last_messages", "last_messages": 3}),
        ("max_prompt_tokens", 300),
        ("max_completion_tokens", 300),
    ],
)
def test_what_the_request_says_counts(name: str, value: Any) -> None:
    assert getattr(run_settings(ASSISTANT, {name: value}, None), name) == value


@pytest.mark.parametrize(
    ("own", "added", "whole"),
    [
        (None, "Rhyme.", "Be brief.\nRhyme."),
        ("Be long.", "Rhyme.", "Be long.\nRhyme."),
        ("", "Rhyme.", "Rhyme."),
        ("Be long.", "", "Be long."),
        (None, None, "Be brief."),
    ],
)
def test_instructions(own: str | None, added: str | None, whole: str) -> None:
    overrides = {} if own is None else {"instructions": own}
    assert run_settings(ASSISTANT, overrides, added).instructions == whole


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        ("required", "required"),
        ({"type": "function", "function": {"name": "weather"}}, {"type": "function", "function": {"name": "weather"}}),
        ({"type": "file_search"}, {"type": "file_search"}),
        ({"type": "file_search", "function": None}, {"type": "file_search"}),
        ({"type": "retrieval"}, {"type": "file_search"}),
    ],
)
def test_choices_among_the_runs_tools(asked: Any, kept: Any) -> None:
    assert run_settings(ASSISTANT, {"tool_choice": asked}, None).tool_choice == kept


@pytest.mark.parametrize(
    ("overrides", "param"),
    [
        ({"tool_choice": {"type": "function", "function": {"name": "other"}}}, "tool_choice"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.function"),
        ({"tool_choice": {"type": "code_interpreter"}}, "tool_choice"),
        ({"tool_choice": {"type": "file_search"}, "tools": [CODE]}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "weather"}}, "tools": [CODE]}, "tool_choice"),
        ({"tool_choice": "required", "tools": []}, "tool_choice"),
        ({"tools": [FUNCTION] * (MAX_RUN_TOOLS + 1)}, "tools"),
    ],
)
def test_what_no_run_can_have(overrides: dict[str, Any], param: str) -> None:
    with pytest.raises(Rejection) as refused:
        run_settings(ASSISTANT, overrides, None)
    assert refused.value.param == param


def test_tools_of_the_assistant_are_counted_too() -> None:
    assert len(run_settings(ASSISTANT, {"tools": [FUNCTION] * MAX_RUN_TOOLS}, None).tools) == MAX_RUN_TOOLS
    many = replace(ASSISTANT, tools=[FUNCTION] * (MAX_RUN_TOOLS + 1))
    with pytest.raises(Rejection):
        run_settings(many, {}, None)
