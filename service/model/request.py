"""Encoding a ChatRequest as the JSON body for an upstream."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import orjson

from service.model.base import ChatRequest, Json
from service.model.catalog import ModelRoute
from service.model.message_forms import adapt_messages, flatten_calls, other_forms, with_instruction, without_reasoning
from service.model.refusal_names import (
    CALLS_WITHOUT_TOOLS,
    FORMAT_BESIDE_TOOLS,
    JSON_OBJECT,
    JSON_SCHEMA,
    KEYWORD,
    NAMED_CHOICE,
    NO_REASONING,
    REQUIRED_CHOICE,
    RESPONSE_FORMAT,
    STREAM,
    STREAM_BESIDE_FORMAT,
    STREAM_BESIDE_TOOLS,
    STREAM_OPTIONS,
    STRICT,
    TOOL_CHOICE,
    TOOLS,
    TOP_P_BESIDE_TEMPERATURE,
    sent_names,
)
from service.model.request_journal import LimitField
from service.model.schema_keywords import without_keywords

# Instructions in place of a response format that the server refuses.
ANY_OBJECT = "Answer with a JSON object and nothing else."
AN_INSTANCE = "Answer with JSON and nothing else. It must conform to this JSON schema:\n"
_SAMPLING = ("temperature", "top_p", "reasoning_effort")


def build_body(route: ModelRoute, request: ChatRequest, refused: Collection[str] = ()) -> bytes:
    """Returns the body of the request. `refused` holds the names of all that this upstream has refused before.

    Each message and each part of one is encoded in a step of its own, between which other threads run.
    """
    fields = _fields(route, request, refused)
    return _dump_with_list(fields, "messages", [_dump_message(message) for message in fields["messages"]])


def refusable_names(route: ModelRoute, request: ChatRequest, refused: Collection[str]) -> frozenset[str]:
    """Returns the names of refusals that could concern the body of this request."""
    body = _fields(route, request, refused)
    return sent_names(body, other_forms(body["messages"]))


def _dump_message(message: Json) -> bytes:
    content = message.get("content")
    if not isinstance(content, list):
        return orjson.dumps(message)
    return _dump_with_list(message, "content", [orjson.dumps(part) for part in content])


def _dump_with_list(fields: Json, name: str, items: Sequence[bytes]) -> bytes:
    """Returns the JSON of an object whose field `name` is a list of these items, in the place that the field has."""
    place = b'"%b":[]' % name.encode()  # no text in JSON contains a quotation mark without a backslash
    before, after = orjson.dumps({**fields, name: []}).split(place, 1)
    return b"".join([before, place[:-1], b",".join(items), b"]", after])


def _fields(route: ModelRoute, request: ChatRequest, refused: Collection[str]) -> dict[str, Any]:
    body: dict[str, Any] = {"model": route.info.upstream_name}
    tools = _tools(request, refused)
    if tools and FORMAT_BESIDE_TOOLS in refused:
        refused = {*refused, RESPONSE_FORMAT}
    response_format, instruction = _response_format(request.response_format, refused)
    messages = with_instruction(request.messages, instruction) if instruction else list(request.messages)
    if not tools and CALLS_WITHOUT_TOOLS in refused:
        messages = flatten_calls(messages)
    if NO_REASONING not in refused:
        messages = without_reasoning(messages)
    body["messages"] = adapt_messages(messages, refused) if refused else messages
    body |= tools
    body |= {name: value for name in _SAMPLING if (value := getattr(request, name)) is not None and name not in refused}
    if TOP_P_BESIDE_TEMPERATURE in refused and "temperature" in body:
        body.pop("top_p", None)
    if response_format is not None:
        body[RESPONSE_FORMAT] = response_format
    limit = _limit_field(route, refused)
    if request.max_completion_tokens is not None and limit is not None:
        body[limit] = request.max_completion_tokens
    body["stream"] = not (
        STREAM in refused
        or (STREAM_BESIDE_TOOLS in refused and TOOLS in body)
        or (STREAM_BESIDE_FORMAT in refused and RESPONSE_FORMAT in body)
    )
    if body["stream"] and STREAM_OPTIONS not in refused:
        body[STREAM_OPTIONS] = {"include_usage": True}
    return body


def _tools(request: ChatRequest, refused: Collection[str]) -> dict[str, Any]:
    """Returns the fields about tools. Without tool_choice the model may call tools, so a run that forbids calls sends
    no tools."""
    choice = request.tool_choice
    if not request.tools or (choice == "none" and TOOL_CHOICE in refused):
        return {}
    tools = list(request.tools)
    if isinstance(choice, Mapping) and NAMED_CHOICE in refused:
        tools = [tool for tool in tools if tool["function"]["name"] == choice["function"]["name"]] or tools
        choice = "required"
    if choice == "required" and REQUIRED_CHOICE in refused:
        choice = "auto"
    fields: dict[str, Any] = {TOOLS: [_without_refused(tool, refused) for tool in tools] if refused else tools}
    if choice is not None and TOOL_CHOICE not in refused:
        fields[TOOL_CHOICE] = choice
    if request.parallel_tool_calls is not None and "parallel_tool_calls" not in refused:
        fields["parallel_tool_calls"] = request.parallel_tool_calls
    return fields


def _response_format(asked: Json | None, refused: Collection[str]) -> tuple[Json | None, str]:
    """Returns the response format to send, and an instruction to the model in place of a format that is refused.

    A refused schema becomes the format of any JSON object, and that format a schema that admits any object, because
    some servers know only one of the two.
    """
    kind = (asked or {}).get("type")
    if asked is None or kind not in ("json_schema", "json_object"):
        return (None if RESPONSE_FORMAT in refused else asked), ""
    usable = {
        "json_schema": RESPONSE_FORMAT not in refused and JSON_SCHEMA not in refused,
        "json_object": RESPONSE_FORMAT not in refused and JSON_OBJECT not in refused,
    }
    if usable[kind]:
        return (_without_refused(asked, refused) if refused and kind == "json_schema" else asked), ""
    if kind == "json_object":
        schema: Json = {"type": "json_schema", "json_schema": {"name": "object", "schema": {"type": "object"}}}
        return (schema if usable["json_schema"] else None), ANY_OBJECT
    text = orjson.dumps(asked["json_schema"].get("schema") or {"type": "object"}).decode()
    return ({"type": "json_object"} if usable["json_object"] else None), AN_INSTANCE + text


def _without_refused(wrapper: Json, refused: Collection[str]) -> Json:
    """Returns a tool or a response format without the field `strict` and the keywords that are refused."""
    keywords = {name.removeprefix(KEYWORD) for name in refused if name.startswith(KEYWORD)}
    if STRICT not in refused and not keywords:
        return wrapper
    kind = wrapper["type"]
    inner = {name: value for name, value in wrapper[kind].items() if name != STRICT or STRICT not in refused}
    for name in ("parameters", "schema"):
        if keywords and name in inner:
            inner[name] = without_keywords(inner[name], keywords)
    return {**wrapper, kind: inner}


def _limit_field(route: ModelRoute, refused: Collection[str]) -> LimitField | None:
    """Returns this upstream's name for the limit of tokens, or None if it rejects both names."""
    names: tuple[LimitField, ...] = (route.limit_field, "max_completion_tokens", "max_tokens")
    return next((name for name in names if name not in refused), None)
