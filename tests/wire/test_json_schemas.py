"""Checks of function schemas and response formats (docs/behaviour.md, "Schemas of functions and response formats")."""

from __future__ import annotations

from typing import Any

import pytest

from service.wire.json_schemas import MAX_PATTERN, MAX_SHOWN, format_problem, function_problem
from tests.client import V1, V2, Client
from tests.http.helpers import assistant_with, thread_with

STRING = {"type": "string"}
OBJECT = "schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{}\"'."
CLOSED = "'additionalProperties' is required to be supplied and to be false."
REQUIRED = "'required' is required to be supplied and to be an array including every key in properties."


def holding(schema: Any, **more: Any) -> Any:
    """Returns the schema of an object with one property, `x`."""
    return {"type": "object", "properties": {"x": schema}, **more}


def closed(schema: Any, **more: Any) -> Any:
    """Returns the strict schema of an object with one property, `x`."""
    return holding(schema, required=["x"], additionalProperties=False, **more)


ROOTS = [
    (STRING, OBJECT.format("string")),
    ({"type": "array", "items": STRING}, OBJECT.format("array")),
    ({}, OBJECT.format("None")),
    ({"properties": {}}, OBJECT.format("None")),
    ({"type": None}, OBJECT.format("None")),
    ({"oneOf": [holding(STRING)]}, OBJECT.format("None")),
    ({"anyOf": [holding(STRING)]}, OBJECT.format("None")),
    ({"type": ["object", "null"]}, OBJECT.format("['object', 'null']")),
    ({"type": "object"}, "In context=(), object schema missing properties."),
]
COMBINED = "schema must have type 'object' and not have 'oneOf'/'anyOf'/'allOf'/'enum'/'not' at the top level."
MALFORMED = [
    (holding([]), "[] is not of type 'object', 'boolean'."),
    (holding("string"), "'string' is not of type 'object', 'boolean'."),
    (holding({"type": "int"}), "'int' is not valid under any of the given schemas."),
    (holding({"type": ["string", "int"]}), "['string', 'int'] is not valid under any of the given schemas."),
    (holding({**STRING, "required": True}), "True is not of type 'array'."),
    (holding(STRING, required="x"), "'x' is not of type 'array'."),
    (holding(STRING, required=[1]), "1 is not of type 'string'."),
    ({"type": "object", "properties": ["x"]}, "['x'] is not of type 'object'."),
    (holding({"enum": "a"}), "'a' is not of type 'array'."),
    (holding({**STRING, "description": 3}), "3 is not of type 'string'."),
    (holding({**STRING, "pattern": r"\p{Cc}"}), r"'\\p{Cc}' is not a 'regex'."),
    (holding({"type": []}), "[] is not valid under any of the given schemas."),
    (holding({"type": ["string", "string"]}), "['string', 'string'] is not valid under any of the given schemas."),
    (holding({"type": "array", "items": [STRING]}), "[{'type': 'string'}] is not of type 'object', 'boolean'."),
    (holding({"type": "integer", "exclusiveMinimum": True}), "True is not of type 'number'."),
    (holding({"type": "integer", "minimum": "1"}), "'1' is not of type 'number'."),
    (holding({"type": "integer", "multipleOf": 0}), "0 is less than or equal to the minimum of 0."),
    (holding({**STRING, "minLength": "1"}), "'1' is not of type 'integer'."),
    (holding({**STRING, "maxLength": 1.5}), "1.5 is not of type 'integer'."),
    (holding({**STRING, "minLength": 1e300}), "1e+300 is not of type 'integer'."),
    (holding({**STRING, "maxLength": 1e20}), "1e+20 is not of type 'integer'."),
    (holding({"type": "array", "items": STRING, "minItems": 10**40}), f"{10**40} is not of type 'integer'."),
    (holding({**STRING, "maxLength": -1}), "-1 is less than the minimum of 0."),
    (holding({"type": "array", "items": STRING, "minItems": None}), "None is not of type 'integer'."),
    (holding({"type": "array", "items": STRING, "uniqueItems": 1}), "1 is not of type 'boolean'."),
    (holding({**STRING, "format": ["date"]}), "['date'] is not of type 'string'."),
    (holding({**STRING, "examples": "a"}), "'a' is not of type 'array'."),
    (holding({"anyOf": []}), "[] should be non-empty."),
    (holding(STRING, required=["x", "x"]), "['x', 'x'] has non-unique elements."),
    (holding(STRING, patternProperties={"(": STRING}), "'(' is not a 'regex'."),
    (holding(STRING, dependentRequired={"x": "y"}), "'y' is not of type 'array'."),
    (
        holding({"type": "array", "prefixItems": [STRING], "minItems": 1}),
        "In context=('properties', 'x'), array schema missing items.",
    ),
    (holding({"type": "array"}), "In context=('properties', 'x'), array schema missing items."),
    (
        holding({"type": ["string", "array"]}),
        "In context=('properties', 'x', 'type', '1'), array schema missing items.",
    ),
    (
        holding({"type": "array", "items": {"type": "array"}}),
        "In context=('properties', 'x', 'items'), array schema missing items.",
    ),
    (
        holding({"anyOf": [STRING, {"type": "array"}]}),
        "In context=('properties', 'x', 'anyOf', '1'), array schema missing items.",
    ),
    (
        holding(STRING, **{"$defs": {"D": {"type": "array"}}}),
        "In context=('$defs', 'D'), array schema missing items.",
    ),
]
STRICT = [
    (holding(STRING), f"In context=(), {CLOSED}"),
    (holding(STRING, additionalProperties=True), f"In context=(), {CLOSED}"),
    (holding(STRING, additionalProperties=STRING, required=["x"]), f"In context=(), {CLOSED}"),
    (closed(holding(STRING)), f"In context=('properties', 'x'), {CLOSED}"),
    (closed({"type": ["object", "null"]}), f"In context=('properties', 'x'), {CLOSED}"),
    (closed({"type": "array", "items": {"type": "object"}}), f"In context=('properties', 'x', 'items'), {CLOSED}"),
    (closed({"anyOf": [{"type": "object"}]}), f"In context=('properties', 'x', 'anyOf', '0'), {CLOSED}"),
    (closed(STRING, **{"$defs": {"D": holding(STRING)}}), f"In context=('$defs', 'D'), {CLOSED}"),
    (holding(STRING, additionalProperties=False), f"In context=(), {REQUIRED} Missing 'x'."),
    (holding(STRING, additionalProperties=False, required=[]), f"In context=(), {REQUIRED} Missing 'x'."),
    (
        closed(holding(STRING, additionalProperties=False)),
        f"In context=('properties', 'x'), {REQUIRED} Missing 'x'.",
    ),
    (
        {"type": "object", "properties": {}, "required": ["y"], "additionalProperties": False},
        f"In context=(), {REQUIRED} Extra required key 'y' supplied.",
    ),
    *(
        (closed({"type": "string", key: [STRING]}), f"In context=('properties', 'x'), '{key}' is not permitted.")
        for key in ("oneOf", "allOf")
    ),
    (closed({**STRING, "not": STRING}), "In context=('properties', 'x'), 'not' is not permitted."),
    (
        closed({"type": "array", "items": STRING, "uniqueItems": True}),
        "In context=('properties', 'x'), 'uniqueItems' is not permitted.",
    ),
    (closed({}), "In context=('properties', 'x'), schema must have a 'type' key."),
    (closed({"description": "Any."}), "In context=('properties', 'x'), schema must have a 'type' key."),
    (
        closed({"$ref": "#/$defs/D", "description": "d", "default": 1}, **{"$defs": {"D": STRING}}),
        "context=('properties', 'x'), $ref cannot have keywords {'default', 'description'}.",
    ),
]
VALID_STRICT = [
    {"type": "object", "properties": {}, "additionalProperties": False},
    closed(STRING),
    closed({"type": ["string", "null"], "format": "date", "pattern": "^a", "description": "d", "default": "a"}),
    closed({"type": "number", "minimum": 1}),
    closed({"enum": ["a", "b"]}),
    closed({"anyOf": [STRING, {"type": "null"}]}),
    closed({"$ref": "#"}),
    closed({"$ref": "#/$defs/D"}, **{"$defs": {"D": closed(STRING)}}),
    closed({"type": "array", "items": closed(STRING), "minItems": 1}),
    closed(STRING, title="T", **{"$schema": "https://json-schema.org/draft/2020-12/schema"}),
]
VALID = [
    *VALID_STRICT,
    holding(STRING),
    holding({}),
    holding(True),
    holding({"type": "object"}),
    holding({"type": "object", "additionalProperties": STRING}),
    holding({"type": "integer", "minimum": -1.5, "exclusiveMaximum": 2, "multipleOf": 0.5}),
    holding({**STRING, "minLength": 0, "maxLength": 2.0, "deprecated": True, "examples": [1]}),
    holding({"enum": []}),
    holding({"oneOf": [STRING, {"type": "array", "items": {}}]}),
    holding({"$ref": "#/definitions/D", "description": "d"}, definitions={"D": {}}),
    holding({**STRING, "x-more": {"type": "int", "properties": []}, "default": {"type": "array"}}),
    holding({**STRING, "pattern": "(" * (MAX_PATTERN + 1)}),
]


@pytest.mark.parametrize(("schema", "text"), [*ROOTS, *MALFORMED])
@pytest.mark.parametrize("strict", [False, True])
def test_functions(schema: Any, text: str, strict: bool) -> None:
    if not strict:
        assert function_problem(schema, strict=False) == text
    else:
        assert function_problem(schema, strict=True) is not None


@pytest.mark.parametrize(("schema", "text"), STRICT)
def test_strict_schemas(schema: Any, text: str) -> None:
    assert function_problem(schema, strict=True) == text
    assert format_problem(schema, strict=True) == text
    assert function_problem(schema, strict=False) is None
    assert format_problem(schema, strict=False) is None


@pytest.mark.parametrize("key", ["oneOf", "anyOf", "allOf", "enum", "not"])
def test_functions_combine_nothing_at_the_top(key: str) -> None:
    schema = holding(STRING, **{key: {"type": "string"} if key == "not" else [holding(STRING)]})
    assert function_problem(schema, strict=False) == function_problem(schema, strict=True) == COMBINED
    assert format_problem(schema, strict=False) is None


@pytest.mark.parametrize("schema", VALID_STRICT)
def test_valid_strict_schemas(schema: Any) -> None:
    assert function_problem(schema, strict=True) is None
    assert format_problem(schema, strict=True) is None


@pytest.mark.parametrize("schema", VALID)
def test_valid_schemas(schema: Any) -> None:
    assert function_problem(schema, strict=False) is None
    assert format_problem(schema, strict=False) is None


@pytest.mark.parametrize(("schema", "text"), ROOTS)
def test_only_strict_formats_must_be_objects(schema: Any, text: str) -> None:
    assert format_problem(schema, strict=True) == text
    if "type" not in schema or schema["type"] is not None:
        assert format_problem(schema, strict=False) is None


def test_texts_are_bounded() -> None:
    huge = "x" * 100_000
    wide: list[Any] = [{huge: huge}] * 1000
    for schema in (
        {"type": huge},
        {"type": wide},
        holding(wide),
        holding({"type": wide}),
        {"type": "object", "properties": {huge: {"type": "array"}}},
        {"type": "object", "properties": {huge: STRING}, "additionalProperties": False},
    ):
        text = function_problem(schema, strict=True)
        assert text is not None
        assert len(text) < 3 * MAX_SHOWN


@pytest.mark.parametrize("beta", [V1, V2])
async def test_wherever_functions_are_given(client: Client, beta: str) -> None:
    client.headers["OpenAI-Beta"] = beta
    assistant, thread = await assistant_with(client), await thread_with(client, "Hi")
    fine = {"type": "function", "function": {"name": "fine"}}
    wrong = {"type": "function", "function": {"name": "f", "parameters": STRING}}
    open_strict = {"type": "function", "function": {"name": "f", "parameters": holding(STRING), "strict": True}}
    for tool, rest in ((wrong, OBJECT.format("string")), (open_strict, f"In context=(), {CLOSED}")):
        for path, body in (
            ("/assistants", {"model": "m"}),
            (f"/assistants/{assistant['id']}", {}),
            (f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"]}),
            ("/threads/runs", {"assistant_id": assistant["id"]}),
        ):
            refused = await client.call("POST", path, {**body, "tools": [fine, tool]})
            assert refused.error == (400, f"Invalid schema for function 'f': {rest}", None, None)
            assert refused.body["error"]["type"] == "invalid_request_error"
    kept = await client.post("/assistants", {"model": "m", "tools": [fine]})
    assert kept["tools"][0]["function"]["parameters"] == {"type": "object", "properties": {}}


async def test_wherever_response_formats_are_given(client: Client) -> None:
    assistant, thread = await assistant_with(client), await thread_with(client, "Hi")
    given = {"type": "json_schema", "json_schema": {"name": "r", "schema": holding(STRING), "strict": True}}
    for path, body in (
        ("/assistants", {"model": "m"}),
        (f"/assistants/{assistant['id']}", {}),
        (f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"]}),
        ("/threads/runs", {"assistant_id": assistant["id"]}),
    ):
        refused = await client.call("POST", path, {**body, "response_format": given})
        text = f"Invalid schema for response_format 'r': In context=(), {CLOSED}"
        assert refused.error == (400, text, "response_format", None)
    loose = {"type": "json_schema", "json_schema": {"name": "r", "schema": holding(STRING)}}
    assert (await client.post("/assistants", {"model": "m", "response_format": loose}))["response_format"]
