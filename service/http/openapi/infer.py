"""Infers JSON schemas from rendered values: a schema admits every sample, and no more than the samples show.

The server's rendering code has no models that describe it, and a second description could be wrong. So samples are
rendered by the code that serves them, and merged: a key that every sample has is required, and a value that is null in
a sample is nullable.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import Any

Schema = dict[str, Any]

# Keys whose values are words of the API. The schema lists the words that samples have.
_WORDS = frozenset({"object", "status", "role", "type"})
_KINDS: tuple[tuple[type, str], ...] = ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"))


class Free(dict[str, Any]):
    """The schema of an object whose keys are the client's and whose values are alike."""


def schema_of(samples: Iterable[Any]) -> Schema:
    """Returns the schema of the samples. There must be at least one."""
    return reduce(_merge, (_schema(sample) for sample in samples))


def _schema(value: Any, word: bool = False) -> Schema:
    match value:
        case None:
            return {"type": ["null"]}
        case Free():
            inner = reduce(_merge, (_schema(item) for item in value.values())) if value else {}
            return {"type": ["object"], "additionalProperties": inner}
        case dict():
            found = {key: _schema(item, key in _WORDS) for key, item in value.items()}
            return {"type": ["object"], "properties": found, "required": list(found)}
        case list() | tuple():
            return {"type": ["array"], "items": reduce(_merge, map(_schema, value)) if value else {}}
        case str() if word:
            return {"type": ["string"], "enum": [value]}
        case _:
            return {"type": [next(name for kind, name in _KINDS if isinstance(value, kind))]}


def _merge(one: Schema, other: Schema) -> Schema:
    if not one or not other:
        return one or other
    types = list(dict.fromkeys([*one["type"], *other["type"]]))
    found: Schema = {"type": types}
    if "properties" in one or "properties" in other:
        found |= _merge_objects(one, other)
    for key in ("items", "additionalProperties"):
        if key in one or key in other:
            found[key] = _merge(one.get(key, {}), other.get(key, {}))
    if "enum" in one or "enum" in other:
        found["enum"] = list(dict.fromkeys([*_enum(one), *_enum(other)]))
    return found


def _merge_objects(one: Schema, other: Schema) -> Schema:
    left, right = one.get("properties"), other.get("properties")
    if left is None or right is None:
        known = one if left is not None else other
        return {key: known[key] for key in ("properties", "required")}
    properties = {key: _merge(left.get(key, {}), right.get(key, {})) for key in {**left, **right}}
    return {"properties": properties, "required": [key for key in one["required"] if key in other["required"]]}


def _enum(schema: Schema) -> list[Any]:
    """Returns the values that a schema allows, null among them if it is one of the types."""
    found: list[Any] = schema.get("enum", [None] if schema["type"] == ["null"] else [])
    return found
