"""Tools for models without native tool calls: described in the prompt, and called by an answer held to a JSON schema.

The model reads what the tools are and how to call one, and its server holds the answer to a schema that admits either a
text or calls. `answer` reads that while it is written, so that all behind it sees what a model with tools would say. In
the history, calls and outputs stand as text, since such a model's chat template has no place for them.

Where one function must be called, the answer is its arguments and nothing else, as in `forced`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from itertools import takewhile
from typing import Any

import orjson

from service.model.base import ChatRequest, Finished, Json, ModelEvent, TextDelta
from service.model.function_choice import Call, demanded, held_to, schema_of, told
from service.model.prompted_answer import Answer, Arguments

# Calls of one answer, where the model may choose: small models repeat themselves.
MAX_CALLS = 8
# Answers with calls since the user last said something; then such a model may only answer, for the same reason.
MAX_ROUNDS = 10


async def prompted(
    call: Call, request: ChatRequest, mint: Callable[[], str]
) -> AsyncGenerator[Sequence[ModelEvent], None]:
    """`call`, asked for what a model without tools can do. Raises ModelError."""
    functions = [tool["function"] for tool in request.tools if tool.get("type") == "function"]
    plain = replace(request, messages=_flat(request.messages), tools=(), tool_choice=None, parallel_tool_calls=None)
    wanted = demanded(request)
    if not functions or request.tool_choice == "none" or (not wanted and _rounds(request.messages) >= MAX_ROUNDS):
        async with aclosing(call(plain)) as batches:
            async for batch in batches:
                yield batch
        return
    answer: Answer | Arguments = Answer(mint)
    if len(wanted) == 1:
        messages, held = [*told(plain.messages, wanted), *_example(wanted[0])], held_to(wanted)
        answer = Arguments(wanted[0]["name"], mint)
    else:
        messages, held = _described(plain.messages, functions, request), _schema(functions, request)
    async with aclosing(call(replace(plain, messages=messages, response_format=held))) as batches:
        async for batch in batches:
            events = _read(batch, answer)
            if events:
                yield events


def _rounds(messages: Sequence[Json]) -> int:
    """How often it has called tools since the user's last message."""
    since = takewhile(lambda message: message["role"] != "user", reversed(messages))
    return sum(1 for message in since if message.get("tool_calls"))


def _example(function: Mapping[str, Any]) -> list[Json]:
    """The first of the schema's `examples`, if it has any: a small model that has seen one comes to an end."""
    examples = schema_of(function).get("examples") or ()
    shown = [orjson.dumps(one).decode() for one in list(examples)[:1]]
    return [{"role": "system", "content": f"For example: {one}"} for one in shown]


def _read(batch: Sequence[ModelEvent], answer: Answer | Arguments) -> list[ModelEvent]:
    """What a batch of the model's JSON says. Raises ModelError."""
    events: list[ModelEvent] = []
    for event in batch:
        match event:
            case TextDelta(text=text):
                events += answer.feed(text)
            case Finished(reason="stop"):
                events += answer.end()
                events.append(replace(event, reason="tool_calls" if answer.called else "stop"))
            case _:
                events.append(event)
    return events


def _schema(functions: Sequence[Mapping[str, Any]], request: ChatRequest) -> Json:
    """Either an answer or calls; where a call is demanded, one of them."""
    must = request.tool_choice == "required"
    most = 1 if must or request.parallel_tool_calls is False else MAX_CALLS
    one = [_only(name={"const": function["name"]}, arguments=schema_of(function)) for function in functions]
    calls = {"type": "array", "items": {"anyOf": one} if len(one) > 1 else one[0], "minItems": 1, "maxItems": most}
    forms = [_only(calls=calls)] if must else [_answer_form(request.response_format), _only(calls=calls)]
    schema = {"anyOf": forms} if len(forms) > 1 else forms[0]
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}


def _answer_form(wanted: Json | None) -> Json:
    """An answer in words, or in the form that the run wants."""
    match (wanted or {}).get("type"):
        case "json_schema":
            schema = (wanted or {})["json_schema"].get("schema")
            return _only(json=schema or {"type": "object"})
        case "json_object":
            return _only(json={"type": "object"})
        case _:
            return _only(text={"type": "string"})


def _only(**properties: Any) -> dict[str, Any]:
    """An object with these properties, in this order, and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _described(messages: Sequence[Json], functions: Sequence[Mapping[str, Any]], request: ChatRequest) -> list[Json]:
    """The messages, the first of them saying what tools there are and how to answer."""
    lines = ["You can call these tools:"]
    lines += [orjson.dumps(_signature(function)).decode() for function in functions]
    call = '{"calls": [{"name": "<tool>", "arguments": {…}}]}'
    if request.tool_choice == "required":
        lines.append(f"Call one of them: answer with JSON, {call}.")
    else:
        form = '{"text": "<your answer>"}' if _answer_form(request.response_format)["required"] == ["text"] else ""
        form = form or '{"json": <your answer>}'
        lines.append(f"Answer with JSON: {form} to answer the user, or {call} to call tools and see what they give.")
    text = "\n".join(lines)
    if messages and messages[0]["role"] == "system":
        return [{**messages[0], "content": f"{messages[0]['content']}\n\n{text}"}, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]


def _signature(function: Mapping[str, Any]) -> dict[str, Any]:
    described = {"description": function["description"]} if function.get("description") else {}
    return {"name": function["name"], **described, "parameters": schema_of(function)}


def _flat(messages: Sequence[Json]) -> list[Json]:
    """The history with calls and outputs as text: outputs come as the user's, since no other role would do."""
    flat: list[Json] = []
    names: dict[str, str] = {}
    outputs: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            name = names.get(message["tool_call_id"], "tool")
            outputs.append(f"Output of {name}:\n{message['content']}")
            continue
        if outputs:
            flat.append({"role": "user", "content": "\n\n".join(outputs)})
            outputs = []
        calls = message.get("tool_calls")
        if not calls:
            flat.append(message)
            continue
        names |= {call["id"]: call["function"]["name"] for call in calls}
        made = orjson.dumps({"calls": [_called(call["function"]) for call in calls]}).decode()
        said = message.get("content")
        flat.append({"role": "assistant", "content": f"{said}\n{made}" if said else made})
    if outputs:
        flat.append({"role": "user", "content": "\n\n".join(outputs)})
    return flat


def _called(function: Mapping[str, Any]) -> dict[str, Any]:
    """A call as the model wrote it; arguments that are no JSON stay a string."""
    try:
        return {"name": function["name"], "arguments": orjson.loads(function["arguments"] or "{}")}
    except orjson.JSONDecodeError:
        return {"name": function["name"], "arguments": function["arguments"]}
