"""Every limit of both versions, with the first value beyond it, and every wrong type."""

from __future__ import annotations

from typing import Any

import pytest

from service.database import Pool
from service.wire.fields import (
    MAX_ATTACHMENT_TOOLS,
    MAX_IDENTIFIER,
    MAX_MESSAGES,
    MAX_SCHEMA_BYTES,
    MAX_TOOLS_BYTES,
)
from tests.client import V1, V2, Client
from tests.http.helpers import assistant_with, thread_with
from tests.wire.sample_objects import BadRequest, find_failures

ASSISTANTS, THREADS, MESSAGES = "POST /assistants", "POST /threads", "POST /threads/{thread}/messages"
ASSISTANT, RUNS, BOTH = "POST /assistants/{assistant}", "POST /threads/{thread}/runs", "POST /threads/runs"
WIDE = {f"k{number}": "v" for number in range(16)}
CODE = {"type": "code_interpreter"}


def function(**changes: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", **changes}}


def deep(levels: int) -> Any:
    found: Any = "bottom"
    for _ in range(levels):
        found = {"a": found}
    return found


def exceeds(param: str, most: int, length: int, kind: str = "string") -> dict[str, Any]:
    an = "an" if kind == "array" else "a"
    message = (
        f"Invalid '{param}': {kind} too long. Expected {an} {kind} with maximum length {most}, but got {an} {kind} with"
        f" length {length} instead."
    )
    return {"message": message, "param": param, "code": f"{kind}_above_max_length"}


def wrong_type(param: str, expected: str, got: str) -> dict[str, Any]:
    message = f"Invalid type for '{param}': expected {expected}, but got {got} instead."
    return {"message": message, "param": param, "code": "invalid_type"}


def unsupported_value(param: str, value: str, supported: str | None = None) -> dict[str, Any]:
    message = f"Invalid value: '{value}'. Supported values are: "
    return {"message": message + (f"{supported}." if supported else "…"), "param": param, "code": "invalid_value"}


def missing_parameter(param: str) -> dict[str, Any]:
    message = f"Missing required parameter: '{param}'."
    return {"message": message, "param": param, "code": "missing_required_parameter"}


def unknown_parameter(param: str) -> dict[str, Any]:
    return {"message": f"Unknown parameter: '{param}'.", "param": param, "code": "unknown_parameter"}


def out_of_range(param: str, kind: str, value: Any, bound: Any, *, above: bool) -> dict[str, Any]:
    where, sign, word = ("above maximum", "<=", "above_max") if above else ("below minimum", ">=", "below_min")
    message = f"Invalid '{param}': {kind} {where} value. Expected a value {sign} {bound}, but got {value} instead."
    return {"message": message, "param": param, "code": f"{kind}_{word}_value"}


# Requests, the rest of the body, the refused fields with their errors.
Row = tuple[tuple[str, ...], dict[str, Any], dict[str, Any]]
A, R, M = (ASSISTANTS, ASSISTANT), (RUNS, BOTH), (MESSAGES,)
WITH_METADATA = (*A, *R, *M, THREADS, "POST /threads/{thread}")

BOTH_VERSIONS: list[Row] = [
    (A, {"name": "n" * 257}, exceeds("name", 256, 257)),
    (A, {"name": 7}, wrong_type("name", "a string", "an integer")),
    (A, {"description": "d" * 513}, exceeds("description", 512, 513)),
    ((*A, *R), {"instructions": "i" * 256_001}, exceeds("instructions", 256_000, 256_001)),
    ((*A, *R), {"model": 1.5}, wrong_type("model", "a string", "a decimal")),
    ((*A, *R), {"model": ""}, {"param": "model", "code": "empty_string"}),
    (A, {"tools": [CODE] * 129}, exceeds("tools", 128, 129, "array")),
    (R, {"tools": [CODE] * 21}, exceeds("tools", 20, 21, "array")),
    ((*A, *R), {"tools": {}}, wrong_type("tools", "an array", "an object")),
    ((*A, *R), {"tools": ["x"]}, wrong_type("tools[0]", "an object", "a string")),
    ((*A, *R), {"tools": [{}]}, missing_parameter("tools[0].type")),
    ((*A, *R), {"tools": [{"type": "browser"}]}, unsupported_value("tools[0].type", "browser")),
    ((*A, *R), {"tools": [{"type": "function"}]}, missing_parameter("tools[0].function")),
    ((*A, *R), {"tools": [{"type": "function", "function": {}}]}, missing_parameter("tools[0].function.name")),
    ((*A, *R), {"tools": [function(name="f" * 65)]}, exceeds("tools[0].function.name", 64, 65)),
    ((*A, *R), {"tools": [function(name="a b")]}, {"param": "tools[0].function.name", "code": "invalid_value"}),
    (
        (*A, *R),
        {"tools": [function(parameters=[])]},
        wrong_type("tools[0].function.parameters", "an object", "an array"),
    ),
    (
        (*A, *R),
        {"tools": [function(parameters=deep(101))]},
        {"param": "tools[0].function.parameters", "code": "invalid_value"},
    ),
    (
        (*A, *R),
        {"tools": [function(parameters={"a": "x" * MAX_SCHEMA_BYTES})]},
        {"param": "tools[0].function.parameters", "code": "invalid_value"},
    ),
    (
        (*A, *R),
        {"tools": [function(description="d" * (MAX_TOOLS_BYTES // 8))] * 9},
        {"param": "tools", "code": "invalid_value"},
    ),
    (
        WITH_METADATA,
        {"metadata": {**WIDE, **{f"n{n}": n for n in range(100)}}},
        {"param": "metadata", "code": "object_above_max_properties"},
    ),
    (WITH_METADATA, {"metadata": {**WIDE, "k": "v"}}, {"param": "metadata", "code": "object_above_max_properties"}),
    (
        WITH_METADATA,
        {"metadata": {"k" * 65: "v"}},
        {"param": f"metadata.{'k' * 65}", "code": "string_above_max_length"},
    ),
    (WITH_METADATA, {"metadata": {"k": "v" * 513}}, exceeds("metadata.k", 512, 513)),
    (WITH_METADATA, {"metadata": []}, wrong_type("metadata", "an object", "an array")),
    (WITH_METADATA, {"surprise": 1}, unknown_parameter("surprise")),
    (WITH_METADATA, {f"surprise{n}": 1 for n in range(2_000)}, unknown_parameter("surprise0")),
    (
        (THREADS,),
        {"messages": [{"role": "user", "content": "Hi"}] * (MAX_MESSAGES + 1)},
        exceeds("messages", MAX_MESSAGES, MAX_MESSAGES + 1, "array"),
    ),
    ((*A, *R), {"temperature": 2.01}, out_of_range("temperature", "decimal", 2.01, 2, above=True)),
    ((*A, *R), {"temperature": -0.1}, out_of_range("temperature", "decimal", -0.1, 0, above=False)),
    ((*A, *R), {"temperature": "1"}, wrong_type("temperature", "a decimal", "a string")),
    ((*A, *R), {"temperature": True}, wrong_type("temperature", "a decimal", "a boolean")),
    ((*A, *R), {"top_p": 1.5}, out_of_range("top_p", "decimal", 1.5, 1, above=True)),
    ((*A, *R), {"top_p": 1e40}, {"param": "top_p", "code": "decimal_above_max_value"}),
    ((*A, *R), {"response_format": "json"}, unsupported_value("response_format", "json")),
    ((*A, *R), {"response_format": 5}, {"param": "response_format", "code": "invalid_type"}),
    ((*A, *R), {"response_format": {"type": "xml"}}, unsupported_value("response_format.type", "xml")),
    (R, {"max_prompt_tokens": 0}, out_of_range("max_prompt_tokens", "integer", 0, 1, above=False)),
    (R, {"max_completion_tokens": 0}, out_of_range("max_completion_tokens", "integer", 0, 1, above=False)),
    (R, {"max_completion_tokens": 300.5}, wrong_type("max_completion_tokens", "an integer", "a decimal")),
    (R, {"max_completion_tokens": 2**62}, {"param": "max_completion_tokens", "code": "integer_above_max_value"}),
    (R, {"tool_choice": "maybe"}, unsupported_value("tool_choice", "maybe")),
    (R, {"tool_choice": 3}, {"param": "tool_choice", "code": "invalid_type"}),
    (R, {"tool_choice": {"type": "function"}}, missing_parameter("tool_choice.function")),
    (R, {"tool_choice": {"type": "function", "function": {"name": "no"}}}, {"param": "tool_choice"}),
    (R, {"tool_choice": {"type": "code_interpreter"}}, {"param": "tool_choice"}),
    (R, {"truncation_strategy": {}}, missing_parameter("truncation_strategy.type")),
    (R, {"truncation_strategy": {"type": "first"}}, unsupported_value("truncation_strategy.type", "first")),
    (
        R,
        {"truncation_strategy": {"type": "last_messages", "last_messages": 0}},
        out_of_range("truncation_strategy.last_messages", "integer", 0, 1, above=False),
    ),
    (R, {"stream": "true"}, wrong_type("stream", "a boolean", "a string")),
    (R, {"assistant_id": None}, wrong_type("assistant_id", "a string", "null")),
    (M, {"role": "system"}, unsupported_value("role", "system", "'user' and 'assistant'")),
    (M, {"role": None}, {"param": "role", "code": "invalid_type"}),
    (M, {"content": "c" * 256_001}, exceeds("content", 256_000, 256_001)),
    (M, {"content": ""}, {"param": "content", "code": "empty_string"}),
    (M, {"content": None}, {"param": "content", "code": "invalid_type"}),
    (M, {"content": {"type": "text"}}, {"param": "content", "code": "invalid_type"}),
    ((RUNS,), {"additional_messages": [{"role": "user"}]}, missing_parameter("additional_messages[0].content")),
    ((BOTH,), {"thread": {"messages": [{"content": "c"}]}}, missing_parameter("thread.messages[0].role")),
    ((BOTH,), {"thread": {"surprise": 1}}, unknown_parameter("thread.surprise")),
    ((THREADS,), {"messages": [{"role": "user", "content": "c", "x": 1}]}, unknown_parameter("messages[0].x")),
]
ONLY_V1: list[Row] = [
    (WITH_METADATA, {"metadata": {"k": [0] * 513}}, wrong_type("metadata.k", "a string", "an array")),
    (WITH_METADATA, {"metadata": {"k": {"x": "x" * 508}}}, exceeds("metadata.k", 512, 517)),
    (M, {"attachments": []}, unknown_parameter("attachments")),
    (M, {"content": [{"type": "text", "text": "t"}]}, {"param": "content", "code": "invalid_type"}),
    (M, {"file_ids": ["f"] * 11}, exceeds("file_ids", 10, 11, "array")),
    (A, {"file_ids": ["f"] * 21}, exceeds("file_ids", 20, 21, "array")),
    ((*A, THREADS, BOTH), {"tool_resources": {}}, unknown_parameter("tool_resources")),
    ((*A, *R), {"tools": [{"type": "file_search"}]}, unsupported_value("tools[0].type", "file_search")),
    (R, {"parallel_tool_calls": True}, unknown_parameter("parallel_tool_calls")),
    ((*A, *R), {"reasoning_effort": "low"}, unknown_parameter("reasoning_effort")),
    (R, {"tool_choice": "required"}, unsupported_value("tool_choice", "required")),
]
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "huge"}}
TEXT = {"type": "text", "text": "t"}
ONLY_V2: list[Row] = [
    (WITH_METADATA, {"metadata": {"k": None}}, wrong_type("metadata.k", "a string", "null")),
    (WITH_METADATA, {"metadata": {"k": True}}, wrong_type("metadata.k", "a string", "a boolean")),
    (WITH_METADATA, {"metadata": {"k": 1}}, wrong_type("metadata.k", "a string", "an integer")),
    (WITH_METADATA, {"metadata": {"k": {}}}, wrong_type("metadata.k", "a string", "an object")),
    ((*A, *M), {"file_ids": []}, unknown_parameter("file_ids")),
    ((*A, *R), {"tools": [{"type": "retrieval"}]}, unsupported_value("tools[0].type", "retrieval")),
    ((*A, RUNS), {"reasoning_effort": "huge"}, unsupported_value("reasoning_effort", "huge")),
    ((*A, *R), {"response_format": {"type": "json_schema"}}, missing_parameter("response_format.json_schema")),
    (R, {"parallel_tool_calls": 1}, wrong_type("parallel_tool_calls", "a boolean", "an integer")),
    (R, {"tool_choice": "required"}, {"param": "tool_choice"}),
    (M, {"content": []}, {"param": "content", "code": "empty_array"}),
    (M, {"content": [{"type": "audio"}]}, unsupported_value("content[0].type", "audio")),
    (M, {"content": [{"type": "text"}]}, missing_parameter("content[0].text")),
    (
        M,
        {"content": [{"type": "text", "text": {"value": "t"}}]},
        wrong_type("content[0].text", "a string", "an object"),
    ),
    (M, {"content": [TEXT, IMAGE]}, unsupported_value("content[1].image_url.detail", "huge")),
    (M, {"content": [{"type": "image_url", "image_url": {}}]}, missing_parameter("content[0].image_url.url")),
    (
        M,
        {"attachments": [{"file_id": "f", "tools": [{"type": "function"}]}]},
        unsupported_value("attachments[0].tools[0].type", "function"),
    ),
    (
        M,
        {"attachments": [{"file_id": "file-1", "tools": [CODE] * (MAX_ATTACHMENT_TOOLS + 1)}]},
        exceeds("attachments[0].tools", MAX_ATTACHMENT_TOOLS, MAX_ATTACHMENT_TOOLS + 1, "array"),
    ),
    (
        M,
        {"attachments": [{"file_id": "f" * (MAX_IDENTIFIER + 1), "tools": [CODE]}]},
        exceeds("attachments[0].file_id", MAX_IDENTIFIER, MAX_IDENTIFIER + 1),
    ),
    (
        M,
        {"content": [{"type": "text", "text": "x" * 200_000}, {"type": "text", "text": "x" * 56_001}]},
        {"param": "content", "code": "invalid_value"},
    ),
    (
        (*A, *R),
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "description": "d" * 16_385}}},
        exceeds("response_format.json_schema.description", 16_384, 16_385),
    ),
    (
        (*A, THREADS, BOTH),
        {"tool_resources": {"code_interpreter": {"file_ids": ["f"] * 21}}},
        exceeds("tool_resources.code_interpreter.file_ids", 20, 21, "array"),
    ),
    (
        (*A, THREADS, BOTH),
        {"tool_resources": {"file_search": {"vector_store_ids": ["vs_1", "vs_2"]}}},
        exceeds("tool_resources.file_search.vector_store_ids", 1, 2, "array"),
    ),
]
NEEDED: dict[str, dict[str, Any]] = {
    ASSISTANTS: {"model": "gpt-4o"},
    MESSAGES: {"role": "user", "content": "Hi"},
    RUNS: {"assistant_id": "{assistant}"},
    BOTH: {"assistant_id": "{assistant}", "thread": {"messages": [{"role": "user", "content": "Hi"}]}},
}


def cases(rows: list[Row], beta: str) -> list[BadRequest]:
    found = []
    for requests, tried, error in rows:
        for request in requests:
            body = {**NEEDED.get(request, {}), **tried}
            found.append(BadRequest(request, body, 400, error.get("message"), error["param"], error.get("code"), beta))
    return found


async def ids_of(client: Client) -> dict[str, str]:
    assistant, thread = await assistant_with(client), await thread_with(client, "Hi")
    return {"assistant": assistant["id"], "thread": thread["id"]}


@pytest.mark.slow
@pytest.mark.parametrize(("beta", "own"), [(V1, ONLY_V1), (V2, ONLY_V2)])
async def test_what_is_refused(client: Client, pool: Pool, beta: str, own: list[Row]) -> None:
    found = await find_failures(client, pool, cases(BOTH_VERSIONS + own, beta), await ids_of(client))
    assert found == []
