"""Forced function calls for models that know no tools, as the embedded one.

A model without tools can still be held to a JSON schema. So where a call of a function is demanded (tool_choice
required or a named function) the reply is constrained to the function's parameters, and told as the call it stands for.
Where tools are merely offered (auto) such a model gets none: it could not decide for one.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import orjson

from service.model.base import ChatRequest, Finished, Json, ModelError, ModelEvent, TextDelta, ToolCallDelta

Call = Callable[[ChatRequest], AsyncGenerator[Sequence[ModelEvent], None]]
_NO_PARAMETERS: Json = {"type": "object", "properties": {}}


async def emulated(
    call: Call, request: ChatRequest, mint: Callable[[], str]
) -> AsyncGenerator[Sequence[ModelEvent], None]:
    """`call`, asked for what a model without tools can do. Raises ModelError.

    The call comes in one piece, when it is whole; a reply that was cut before that brings no call.
    """
    functions = demanded(request)
    plain = replace(request, tools=(), tool_choice=None, parallel_tool_calls=None)
    if functions:
        plain = replace(plain, messages=told(request.messages, functions), response_format=held_to(functions))
    said: list[str] = []
    async with aclosing(call(plain)) as batches:
        async for batch in batches:
            if not functions:
                yield batch
                continue
            said += [event.text for event in batch if isinstance(event, TextDelta)]
            others = [event for event in batch if not isinstance(event, TextDelta)]
            if others and isinstance(others[-1], Finished) and others[-1].reason == "stop":
                others[-1:] = [_call_in("".join(said), functions, mint), replace(others[-1], reason="tool_calls")]
            if others:
                yield others


def demanded(request: ChatRequest) -> list[Mapping[str, Any]]:
    """The functions of which one must be called; empty where none must."""
    functions = [tool["function"] for tool in request.tools if tool.get("type") == "function"]
    choice = request.tool_choice
    if isinstance(choice, Mapping):
        name = (choice.get("function") or {}).get("name")
        return [function for function in functions if function["name"] == name]
    return functions if choice == "required" else []


def schema_of(function: Mapping[str, Any]) -> Json:
    return function.get("parameters") or _NO_PARAMETERS


def held_to(functions: Sequence[Mapping[str, Any]]) -> Json:
    """One function: its arguments. Several: which one, and its arguments."""
    schema = schema_of(functions[0])
    if len(functions) > 1:
        schema = {"anyOf": [_named(function) for function in functions]}
    return {"type": "json_schema", "json_schema": {"name": "call", "schema": schema, "strict": True}}


def _named(function: Mapping[str, Any]) -> Json:
    properties = {"name": {"const": function["name"]}, "arguments": schema_of(function)}
    return {"type": "object", "properties": properties, "required": ["name", "arguments"]}


def told(messages: Sequence[Json], functions: Sequence[Mapping[str, Any]]) -> list[Json]:
    """The messages, the last of them saying what the JSON is for."""
    names = "; ".join(
        f"{function['name']}: {function.get('description') or 'no description'}" for function in functions
    )
    form = "its arguments" if len(functions) == 1 else "its name and arguments"
    return [*messages, {"role": "system", "content": f"Call a function ({names}). Answer with JSON: {form}."}]


def _call_in(said: str, functions: Sequence[Mapping[str, Any]], mint: Callable[[], str]) -> ToolCallDelta:
    try:
        body = orjson.loads(said)
        if len(functions) == 1:
            return ToolCallDelta(0, mint(), functions[0]["name"], orjson.dumps(body).decode())
        return ToolCallDelta(0, mint(), str(body["name"]), orjson.dumps(body["arguments"]).decode())
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise ModelError("server_error", "The model server did not hold its answer to the JSON schema.") from None
