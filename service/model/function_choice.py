"""Required function calls for models without tools, such as the embedded model.

The answer of such a model can still be constrained to a JSON schema. So if a function call is required (tool_choice is
required or names a function), the answer is constrained to the function's parameters and reported as a tool call. If
tools are only offered (auto), the model gets no tools, because it could not decide whether to call one.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import orjson

from service.model.base import ChatRequest, Json, ModelError, ModelEvent, ModelStreamEnd, TextDelta, ToolCallDelta

StreamFunction = Callable[[ChatRequest], AsyncGenerator[Sequence[ModelEvent], None]]
_NO_PARAMETERS: Json = {"type": "object", "properties": {}}


async def stream_required_call(
    call: StreamFunction, request: ChatRequest, mint: Callable[[], str]
) -> AsyncGenerator[Sequence[ModelEvent], None]:
    """Streams the request by `call`, without tools; a required function call becomes a response format.

    The tool call is one event, sent when its JSON is complete; if the answer was cut off, there is no tool call. Raises
    ModelError.
    """
    functions = required_functions(request)
    if request.journal is not None:
        request.journal.form = "required"
    answer: list[str] = []
    async with aclosing(call(required_call_request(request))) as batches:
        async for batch in batches:
            if not functions:
                yield batch
                continue
            answer += [event.text for event in batch if isinstance(event, TextDelta)]
            others = [event for event in batch if not isinstance(event, TextDelta)]
            if others and isinstance(others[-1], ModelStreamEnd) and others[-1].reason == "stop":
                others[-1:] = [_parse_call("".join(answer), functions, mint), replace(others[-1], reason="tool_calls")]
            if others:
                yield others


def required_call_request(request: ChatRequest) -> ChatRequest:
    """Returns the request without tools; a required function call becomes a response format."""
    functions = required_functions(request)
    plain = replace(request, tools=(), tool_choice=None, parallel_tool_calls=None)
    if not functions:
        return plain
    messages = with_call_instruction(request.messages, functions)
    return replace(plain, messages=messages, response_format=call_format(functions))


def required_functions(request: ChatRequest) -> list[Mapping[str, Any]]:
    """Returns the functions of which one must be called; the list is empty if no call is required."""
    functions = [tool["function"] for tool in request.tools if tool.get("type") == "function"]
    choice = request.tool_choice
    if isinstance(choice, Mapping):
        name = (choice.get("function") or {}).get("name")
        return [function for function in functions if function["name"] == name]
    return functions if choice == "required" else []


def schema_of(function: Mapping[str, Any]) -> Json:
    return function.get("parameters") or _NO_PARAMETERS


def call_format(functions: Sequence[Mapping[str, Any]]) -> Json:
    """Returns a response format: the arguments of a single function, or the name and arguments of one of several."""
    schema = schema_of(functions[0])
    if len(functions) > 1:
        schema = {"anyOf": [_call_schema(function) for function in functions]}
    return {"type": "json_schema", "json_schema": {"name": "call", "schema": schema, "strict": True}}


def _call_schema(function: Mapping[str, Any]) -> Json:
    properties = {"name": {"const": function["name"]}, "arguments": schema_of(function)}
    return {"type": "object", "properties": properties, "required": ["name", "arguments"]}


def with_call_instruction(messages: Sequence[Json], functions: Sequence[Mapping[str, Any]]) -> list[Json]:
    """Returns the messages, followed by an instruction to answer with the JSON of a call."""
    names = "; ".join(
        f"{function['name']}: {function.get('description') or 'no description'}" for function in functions
    )
    form = "its arguments" if len(functions) == 1 else "its name and arguments"
    return [*messages, {"role": "system", "content": f"Call a function ({names}). Answer with JSON: {form}."}]


def _parse_call(answer: str, functions: Sequence[Mapping[str, Any]], mint: Callable[[], str]) -> ToolCallDelta:
    try:
        body = orjson.loads(answer)
        if len(functions) == 1:
            return ToolCallDelta(0, mint(), functions[0]["name"], orjson.dumps(body).decode())
        return ToolCallDelta(0, mint(), str(body["name"]), orjson.dumps(body["arguments"]).decode())
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise ModelError("server_error", "The model server did not hold its answer to the JSON schema.") from None
