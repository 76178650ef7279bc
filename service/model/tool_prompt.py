"""Tools for models without native tool calls: described in the prompt, and called by an answer that follows a schema.

The model reads descriptions of the tools and of the form of a call, and its server constrains the answer to a schema
that admits either a text or calls. A parser of `prompted_answer` reads the JSON while it is being written, so the rest
of the service receives the same events as from a model with tools. In the history, calls and outputs are written as
text, because the chat template of such a model has no place for them.

If one function must be called, the answer consists of its arguments only, as in `function_choice`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from itertools import takewhile
from typing import Any, Literal, assert_never

import orjson

from service.model.base import ChatRequest, Json, ModelEvent, ModelStreamEnd, TextDelta
from service.model.function_choice import (
    StreamFunction,
    call_format,
    required_functions,
    schema_of,
    with_call_instruction,
)
from service.model.message_forms import flatten_calls, with_instruction
from service.model.prompted_answer import AnswerParser, ArgumentsParser

# Calls in one answer, if the model may choose. Small models tend to repeat themselves.
MAX_CALLS = 8
# Answers with calls since the user's last message. After that the model gets no tools, for the same reason.
MAX_ROUNDS = 10
_AnswerForm = Literal["plain", "call", "text or calls"]


async def stream_prompted(
    call: StreamFunction, request: ChatRequest, mint: Callable[[], str]
) -> AsyncGenerator[Sequence[ModelEvent], None]:
    """Streams the request by `call`, with the tools as a prompt and a response format. Raises ModelError."""
    if request.journal is not None:
        request.journal.form = "prompted"
    answer = _answer_form(request)
    parser: AnswerParser | ArgumentsParser | None = None
    if answer != "plain":
        parser = (
            ArgumentsParser(required_functions(request)[0]["name"], mint) if answer == "call" else AnswerParser(mint)
        )
    async with aclosing(call(prompted_request(request))) as batches:
        async for batch in batches:
            events = batch if parser is None else _parse_batch(batch, parser)
            if events:
                yield events


def prompted_request(request: ChatRequest) -> ChatRequest:
    """Returns the request with its tools as a prompt and a response format."""
    functions, answer = _functions(request), _answer_form(request)
    messages = flatten_calls(request.messages)
    plain = replace(request, messages=messages, tools=(), tool_choice=None, parallel_tool_calls=None)
    match answer:
        case "plain":
            return plain
        case "call":
            required = required_functions(request)
            messages = [*with_call_instruction(plain.messages, required), *_example(required[0])]
            return replace(plain, messages=messages, response_format=call_format(required))
        case "text or calls":
            messages = _with_tool_descriptions(plain.messages, functions, request)
            return replace(plain, messages=messages, response_format=_answer_schema(functions, request))
        case _:
            assert_never(answer)


def _functions(request: ChatRequest) -> list[Mapping[str, Any]]:
    return [tool["function"] for tool in request.tools if tool.get("type") == "function"]


def _answer_form(request: ChatRequest) -> _AnswerForm:
    """Returns the form of the answer: plain if no tool may be called, else one call, or a text or calls."""
    required = required_functions(request)
    may_call = bool(required) or _count_rounds(request.messages) < MAX_ROUNDS
    if not _functions(request) or request.tool_choice == "none" or not may_call:
        return "plain"
    return "call" if len(required) == 1 else "text or calls"


def _count_rounds(messages: Sequence[Json]) -> int:
    """Returns the number of answers with tool calls since the user's last message."""
    since = takewhile(lambda message: message["role"] != "user", reversed(messages))
    return sum(1 for message in since if message.get("tool_calls"))


def _example(function: Mapping[str, Any]) -> list[Json]:
    """Returns a message with the first of the schema's `examples`, if there are any. With an example a small model
    completes its JSON."""
    examples = schema_of(function).get("examples") or ()
    texts = [orjson.dumps(example).decode() for example in list(examples)[:1]]
    return [{"role": "system", "content": f"For example: {text}"} for text in texts]


def _parse_batch(batch: Sequence[ModelEvent], parser: AnswerParser | ArgumentsParser) -> list[ModelEvent]:
    """Returns the events of a batch of the model's JSON. Raises ModelError."""
    events: list[ModelEvent] = []
    for event in batch:
        match event:
            case TextDelta(text=text):
                events += parser.feed(text)
            case ModelStreamEnd(reason="stop"):
                events += parser.end()
                events.append(replace(event, reason="tool_calls" if parser.call_count else "stop"))
            case _:
                events.append(event)
    return events


def _answer_schema(functions: Sequence[Mapping[str, Any]], request: ChatRequest) -> Json:
    """Returns a response format for either an answer or calls. If a call is required, it admits exactly one call."""
    is_required = request.tool_choice == "required"
    max_calls = 1 if is_required or request.parallel_tool_calls is False else MAX_CALLS
    items = [_object_schema(name={"const": function["name"]}, arguments=schema_of(function)) for function in functions]
    item = {"anyOf": items} if len(items) > 1 else items[0]
    calls = _object_schema(calls={"type": "array", "items": item, "minItems": 1, "maxItems": max_calls})
    forms = [calls] if is_required else [_text_schema(request.response_format), calls]
    schema = {"anyOf": forms} if len(forms) > 1 else forms[0]
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}


def _text_schema(response_format: Json | None) -> Json:
    """Returns the schema of an answer in words, or in the run's response format."""
    match (response_format or {}).get("type"):
        case "json_schema":
            schema = (response_format or {})["json_schema"].get("schema")
            return _object_schema(json=schema or {"type": "object"})
        case "json_object":
            return _object_schema(json={"type": "object"})
        case _:
            return _object_schema(text={"type": "string"})


def _object_schema(**properties: Any) -> dict[str, Any]:
    """Returns the schema of an object with exactly these properties, in this order."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _with_tool_descriptions(
    messages: Sequence[Json], functions: Sequence[Mapping[str, Any]], request: ChatRequest
) -> list[Json]:
    """Returns the messages with a system message that describes the tools and the form of the answer."""
    lines = ["You can call these tools:"]
    lines += [orjson.dumps(_signature(function)).decode() for function in functions]
    call = '{"calls": [{"name": "<tool>", "arguments": {…}}]}'
    if request.tool_choice == "required":
        lines.append(f"Call one of them: answer with JSON, {call}.")
    else:
        is_text = _text_schema(request.response_format)["required"] == ["text"]
        form = '{"text": "<your answer>"}' if is_text else '{"json": <your answer>}'
        lines.append(f"Answer with JSON: {form} to answer the user, or {call} to call tools and see what they give.")
    text = "\n".join(lines)
    return with_instruction(messages, text)


def _signature(function: Mapping[str, Any]) -> dict[str, Any]:
    description = {"description": function["description"]} if function.get("description") else {}
    return {"name": function["name"], **description, "parameters": schema_of(function)}
