"""The settings of a run: its assistant's, and those that the request overrides (docs/behaviour.md, "Semantics")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from events.errors import Rejection
from events.objects import SETTING_DEFAULTS, Assistant, explicit_defaults
from events.thread.commands import RunSettings

MAX_RUN_TOOLS = 20
_HOSTED = {"retrieval": "file_search"}


def run_settings(
    assistant: Assistant, overrides: Mapping[str, Any], additional_instructions: str | None
) -> RunSettings:
    """Returns the settings of a run. `overrides` has names of RunSettings; an absent one is the assistant's, or the
    API's default.

    Additional instructions follow the other instructions after a line break. Raises Rejection if there are too many
    tools, or if the tool choice names a tool that the run does not have.
    """
    instructions = overrides.get("instructions", assistant.instructions)
    if additional_instructions:
        instructions = f"{instructions}\n{additional_instructions}" if instructions else additional_instructions
    tools: Sequence[Mapping[str, Any]] = overrides.get("tools", assistant.tools)
    _check_count(tools)
    return RunSettings(
        assistant_id=assistant.id,
        model=overrides.get("model", assistant.model),
        instructions=instructions,
        tools=tools,
        tool_resources=overrides.get("tool_resources", assistant.tool_resources),
        metadata=overrides.get("metadata", {}),
        temperature=overrides.get("temperature", assistant.temperature),
        top_p=overrides.get("top_p", assistant.top_p),
        reasoning_effort=overrides.get("reasoning_effort", assistant.reasoning_effort),
        response_format=overrides.get("response_format", assistant.response_format),
        tool_choice=_choice(overrides.get("tool_choice", "auto"), tools),
        parallel_tool_calls=overrides.get("parallel_tool_calls", SETTING_DEFAULTS["parallel_tool_calls"]),
        truncation_strategy=overrides.get("truncation_strategy", {"type": "auto", "last_messages": None}),
        max_prompt_tokens=overrides.get("max_prompt_tokens"),
        max_completion_tokens=overrides.get("max_completion_tokens"),
        explicit_defaults=[
            *(name for name in assistant.explicit_defaults if name not in overrides),
            *explicit_defaults(overrides),
        ],
    )


def _check_count(tools: Sequence[Mapping[str, Any]]) -> None:
    if len(tools) > MAX_RUN_TOOLS:
        raise Rejection(
            f"Invalid 'tools': array too long. Expected an array with maximum length {MAX_RUN_TOOLS}, but got an array"
            f" with length {len(tools)} instead.",
            param="tools",
            code="array_above_max_length",
        )


def _choice(choice: str | Mapping[str, Any], tools: Sequence[Mapping[str, Any]]) -> str | Mapping[str, Any]:
    """Returns the tool choice as it is stored. Raises Rejection if the run does not have the tool that it names."""
    if isinstance(choice, str):
        if choice == "required" and not tools:
            raise Rejection("'tool_choice' is 'required', but the run has no tools.", param="tool_choice")
        return choice
    if choice["type"] == "function":
        function = choice.get("function")
        if function is None:
            raise Rejection(
                "Missing required parameter: 'tool_choice.function'.",
                param="tool_choice.function",
                code="missing_required_parameter",
            )
        name = function["name"]
        if not any(tool["type"] == "function" and tool["function"]["name"] == name for tool in tools):
            message = f"Tool choice 'function' with name '{name}' is not among the run's tools."
            raise Rejection(message, param="tool_choice")
        return {"type": "function", "function": {"name": name}}
    hosted = _HOSTED.get(choice["type"], choice["type"])
    if not any(tool["type"] == hosted for tool in tools):
        raise Rejection(f"Tool choice '{choice['type']}' is not among the run's tools.", param="tool_choice")
    return {"type": hosted}
