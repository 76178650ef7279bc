"""The names of all that an upstream may refuse: optional fields of a request, values of them, and forms of messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from service.model.schema_keywords import keywords_in

STREAM_OPTIONS = "stream_options"
RESPONSE_FORMAT = "response_format"
TOOL_CHOICE = "tool_choice"
OPTIONAL_FIELDS = (
    STREAM_OPTIONS,
    "parallel_tool_calls",
    RESPONSE_FORMAT,
    "reasoning_effort",
    TOOL_CHOICE,
    "temperature",
    "top_p",
    "max_completion_tokens",
    "max_tokens",
)
LIMITS = ("max_completion_tokens", "max_tokens")
# Names of refusals that are not names of optional fields.
TOOLS = "tools"
STREAM = "stream"
STREAM_BESIDE_TOOLS = "stream beside tools"
STREAM_BESIDE_FORMAT = "stream beside response_format"
FORMAT_BESIDE_TOOLS = "response_format beside tools"
JSON_SCHEMA = "response_format json_schema"
JSON_OBJECT = "response_format json_object"
NAMED_CHOICE = "tool_choice of a function"
REQUIRED_CHOICE = "tool_choice required"
TOP_P_BESIDE_TEMPERATURE = "top_p beside temperature"
STRICT = "strict"
IMAGE_DETAIL = "image detail"
IMAGES = "images"
KEYWORD = "schema keyword "  # and the keyword
ROLES_IN_A_ROW = "roles that do not alternate"
SYSTEM_ROLE = "system role"
TOOL_ROLE = "tool role"
SEVERAL_CALLS = "several tool calls in a message"
FOREIGN_CALL_IDS = "tool call ids of other servers"
NULL_CONTENT = "null content"
EMPTY_CONTENT = "empty content"
CALLS_WITHOUT_TOOLS = "tool calls without tools"
NO_SIGNATURE = "tool call without thought_signature"
NO_REASONING = "message without reasoning_content"

# The steps in which a field is given up: another value of it comes before leaving it out.
STEPS: Mapping[str, tuple[str, ...]] = {
    RESPONSE_FORMAT: (JSON_SCHEMA, JSON_OBJECT, RESPONSE_FORMAT),
    TOOL_CHOICE: (NAMED_CHOICE, REQUIRED_CHOICE, TOOL_CHOICE),
}


def sent_names(body: Mapping[str, Any], forms: Iterable[str]) -> frozenset[str]:
    """Returns the names of refusals that could concern a request with this body and these forms of messages."""
    names = {name for name in OPTIONAL_FIELDS if name in body} | set(forms)
    if {"temperature", "top_p"} <= names:
        names.add(TOP_P_BESIDE_TEMPERATURE)
    if body["stream"]:
        names.add(STREAM)
        names |= {STREAM_BESIDE_TOOLS} if TOOLS in body else set()
        names |= {STREAM_BESIDE_FORMAT} if RESPONSE_FORMAT in body else set()
    response_format = body.get(RESPONSE_FORMAT, {})
    formats = {"json_schema": JSON_SCHEMA, "json_object": JSON_OBJECT}
    names |= {formats[kind]} if (kind := response_format.get("type")) in formats else set()
    choice = body.get(TOOL_CHOICE)
    names |= {NAMED_CHOICE} if isinstance(choice, Mapping) else {REQUIRED_CHOICE} if choice == "required" else set()
    if TOOLS in body and RESPONSE_FORMAT in body:
        names.add(FORMAT_BESIDE_TOOLS)
    if TOOLS not in body and any(message.get("tool_calls") for message in body["messages"]):
        names.add(CALLS_WITHOUT_TOOLS)
    schemas = [response_format.get("json_schema", {}), *(tool["function"] for tool in body.get(TOOLS, ()))]
    if any(STRICT in each for each in schemas):
        names.add(STRICT)
    names |= {KEYWORD + word for each in schemas for word in keywords_in(each.get("schema") or each.get("parameters"))}
    return frozenset(names)
