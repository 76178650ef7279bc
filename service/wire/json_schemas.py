"""Checks the JSON schemas of functions and response formats, with the texts of the original (docs/behaviour.md,
"Schemas of functions and response formats").

A `Context` is the path of a schema inside the whole, as the texts show it: ('properties', 'city').
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from events.objects import Json

Context = tuple[str, ...]
# Characters of a value or a context that a text repeats.
MAX_SHOWN = 300
# Characters of the longest pattern that is compiled to check it. Longer ones are accepted as they are.
MAX_PATTERN = 10_000
_TYPES = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})
# Keywords by what they hold: one schema, a list of schemas, or an object of schemas.
_ONE = ("items", "additionalProperties", "contains", "propertyNames", "not", "if", "then", "else")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_OBJECTS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_LISTED = ("required", "enum", "examples", *_LISTS)
_TEXTS = ("$ref", "description", "pattern", "title", "format", "$comment", "$id", "$schema", "$anchor")
_FLAGS = ("uniqueItems", "deprecated", "readOnly", "writeOnly")
_NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_COUNTS = (
    "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "minContains", "maxContains"
)  # fmt: skip
# The largest count. The original's is not known; no value has more parts than this.
MAX_COUNT = 2**63 - 1
# Keywords that a function's schema cannot have itself, although schemas inside it can.
_NOT_AT_THE_TOP = frozenset({"oneOf", "anyOf", "allOf", "enum", "not"})
# Keywords that strict schemas cannot have.
_FORBIDDEN = (
    "oneOf", "allOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "uniqueItems"
)  # fmt: skip


def function_problem(schema: Json, *, strict: bool) -> str | None:
    """Returns the text of the first problem of a function's parameters, or None."""
    problem = _type_problem(schema)
    if problem is None and _NOT_AT_THE_TOP & set(schema):
        problem = "schema must have type 'object' and not have 'oneOf'/'anyOf'/'allOf'/'enum'/'not' at the top level."
    return problem or _properties_problem(schema) or _problem(schema, strict=strict)


def format_problem(schema: Json, *, strict: bool) -> str | None:
    """Returns the text of the first problem of a response format's schema, or None.

    A schema that is not strict may describe any value.
    """
    problem = (_type_problem(schema) or _properties_problem(schema)) if strict else None
    return problem or _problem(schema, strict=strict)


def _type_problem(schema: Json) -> str | None:
    found = schema.get("type")
    if found != "object":
        shown = found[:MAX_SHOWN] if isinstance(found, str) else _python_text(found)
        return f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{shown}\"'."
    return None


def _properties_problem(schema: Json) -> str | None:
    if not {"properties", "$ref", *_LISTS} & set(schema):
        return _in_context((), "object schema missing properties.")
    return None


def _problem(root: Json, *, strict: bool) -> str | None:
    schemas = list(_schemas(root, ()))
    found = next(filter(None, (_syntax_problem(schema) for _, schema in schemas)), None)
    if found is not None:
        return found
    checks = (_array_problem, _strict_problem) if strict else (_array_problem,)
    results = (check(context, schema) for context, schema in schemas if isinstance(schema, dict) for check in checks)
    return next(filter(None, results), None)


def _schemas(schema: Any, context: Context) -> Iterator[tuple[Context, Any]]:
    """Yields the schema and all inside it, each after the schema that holds it. Values may be no schemas at all."""
    yield context, schema
    if not isinstance(schema, dict):
        return
    for key, value in schema.items():
        if key in _OBJECTS and isinstance(value, dict):
            for name, inner in value.items():
                yield from _schemas(inner, (*context, key, name))
        elif isinstance(value, list) and key in _LISTS:
            for position, inner in enumerate(value):
                yield from _schemas(inner, (*context, key, str(position)))
        elif key in _ONE:
            yield from _schemas(value, (*context, key))


def _syntax_problem(schema: Any) -> str | None:
    """Returns the text for a value that is no JSON schema; the texts are those of the Python package jsonschema."""
    if isinstance(schema, bool):
        return None
    if not isinstance(schema, dict):
        return _wrong_type(schema, "'object', 'boolean'")
    if "type" in schema and not _are_types(schema["type"]):
        return f"{_python_text(schema['type'])} is not valid under any of the given schemas."
    for keys, kind, name in (
        (_LISTED, list, "array"),
        ((*_OBJECTS, "dependentRequired"), dict, "object"),
        (_TEXTS, str, "string"),
        (_FLAGS, bool, "boolean"),
    ):
        for key in keys:
            if key in schema and not isinstance(schema[key], kind):
                return _wrong_type(schema[key], f"'{name}'")
    return _names_problem(schema) or _number_problem(schema) or _patterns_problem(schema)


def _are_types(types: Any) -> bool:
    """Whether this is a type, or a list of different types."""
    if not isinstance(types, list):
        return isinstance(types, str) and types in _TYPES
    return bool(types) and all(isinstance(one, str) and one in _TYPES for one in types) and len({*types}) == len(types)


def _names_problem(schema: Json) -> str | None:
    """Returns the text for a list that is empty, or that does not hold different names."""
    empty = next((schema[key] for key in _LISTS if key in schema and not schema[key]), None)
    if empty is not None:
        return "[] should be non-empty."
    for names in (schema.get("required", []), *schema.get("dependentRequired", {}).values()):
        if not isinstance(names, list):
            return _wrong_type(names, "'array'")
        for name in names:
            if not isinstance(name, str):
                return _wrong_type(name, "'string'")
        if len({*names}) < len(names):
            return f"{_python_text(names)} has non-unique elements."
    return None


def _number_problem(schema: Json) -> str | None:
    for key in (*_NUMBERS, *_COUNTS):
        value = schema.get(key, 1)
        is_count = key in _COUNTS
        if isinstance(value, bool) or not isinstance(value, int | float) or (is_count and not _is_count(value)):
            return _wrong_type(value, "'integer'" if is_count else "'number'")
        if is_count and value < 0:
            return f"{value} is less than the minimum of 0."
    if schema.get("multipleOf", 1) <= 0:
        return f"{schema['multipleOf']} is less than or equal to the minimum of 0."
    return None


def _is_count(value: float) -> bool:
    """Whether this is a whole number of at most MAX_COUNT. Negative ones have a text of their own."""
    return value <= MAX_COUNT and (isinstance(value, int) or value.is_integer())


def _patterns_problem(schema: Json) -> str | None:
    patterns = [*([schema["pattern"]] if "pattern" in schema else []), *schema.get("patternProperties", ())]
    return next(filter(None, map(_pattern_problem, patterns)), None)


def _pattern_problem(pattern: str) -> str | None:
    """Returns the text for a pattern that Python's `re`, which the original used, cannot compile."""
    if len(pattern) > MAX_PATTERN:
        return None
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError):
        return f"{_python_text(pattern)} is not a 'regex'."
    return None


def _array_problem(context: Context, schema: Json) -> str | None:
    types = schema.get("type")
    if "array" not in (types if isinstance(types, list) else [types]) or "items" in schema:
        return None
    place = (*context, "type", str(types.index("array"))) if isinstance(types, list) else context
    return _in_context(place, "array schema missing items.")


def _strict_problem(context: Context, schema: Json) -> str | None:
    if "$ref" in schema:
        others = sorted(set(schema) - {"$ref", "$defs", "definitions"})
        shown = ", ".join(f"'{key}'" for key in others)[:MAX_SHOWN]
        return f"context={_path(context)}, $ref cannot have keywords {{{shown}}}." if others else None
    forbidden = next((key for key in _FORBIDDEN if key in schema), None)
    if forbidden is not None:
        return _in_context(context, f"'{forbidden}' is not permitted.")
    types = schema.get("type")
    if types is None:
        return None if {"anyOf", "enum"} & set(schema) else _in_context(context, "schema must have a 'type' key.")
    return _strict_object_problem(context, schema) if "object" in types else None


def _strict_object_problem(context: Context, schema: Json) -> str | None:
    if schema.get("additionalProperties") is not False:
        return _in_context(context, "'additionalProperties' is required to be supplied and to be false.")
    properties, required = schema.get("properties", {}), schema.get("required", [])
    wanted = "'required' is required to be supplied and to be an array including every key in properties."
    known = set(required)
    for key in properties:
        if key not in known:
            return _in_context(context, f"{wanted} Missing '{key[:MAX_SHOWN]}'.")
    for key in required:
        if key not in properties:
            return _in_context(context, f"{wanted} Extra required key '{key[:MAX_SHOWN]}' supplied.")
    return None


def _in_context(context: Context, text: str) -> str:
    return f"In context={_path(context)}, {text}"


def _path(context: Context) -> str:
    text = str(context)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def _wrong_type(value: Any, expected: str) -> str:
    return f"{_python_text(value)} is not of type {expected}."


def _python_text(value: Any) -> str:
    """Returns the value in Python's notation; of a long list or object, only its beginning is rendered."""
    if isinstance(value, list):
        return f"[{', '.join(_python_text(item) for item in value[:3])}{', …' if len(value) > 3 else ''}]"[:MAX_SHOWN]
    if isinstance(value, dict):
        items = list(value.items())[:3]
        text = ", ".join(f"{_python_text(key)}: {_python_text(item)}" for key, item in items)
        return f"{{{text}{', …' if len(value) > 3 else ''}}}"[:MAX_SHOWN]
    return repr(value[:MAX_SHOWN] if isinstance(value, str) else value)
