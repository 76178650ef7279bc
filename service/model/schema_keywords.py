"""Keywords of JSON schemas that some servers refuse, and schemas without them. Pure.

Only keywords without which a schema still describes the object are left out. Some have another form: a list of types
becomes its first type, `const` an `enum` of one value, and `oneOf` is `anyOf`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

DISPENSABLE = frozenset(
    {
        *("$schema", "$id", "$comment", "$anchor", "title", "default", "examples", "example", "deprecated"),
        *(
            "readOnly",
            "writeOnly",
            "additionalProperties",
            "unevaluatedProperties",
            "propertyNames",
            "patternProperties",
        ),
        *("minProperties", "maxProperties", "additionalItems", "uniqueItems", "minItems", "maxItems", "contains"),
        *("format", "pattern", "minLength", "maxLength", "contentEncoding", "contentMediaType", "multipleOf"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "nullable", "const", "oneOf", "type"),
    }
)
_MAPS = frozenset({"properties", "$defs", "definitions", "dependentSchemas"})  # keywords whose keys are names
_VALUES = frozenset({"enum", "const", "default", "examples", "example", "required"})  # keywords that hold no schemas
MAX_DEPTH = 100  # of a schema


def keywords_in(schema: object, depth: int = 0) -> Iterator[str]:
    """Yields the keywords of a schema that `without_keywords` can leave out or replace."""
    if isinstance(schema, list):
        for each in schema:
            yield from keywords_in(each, depth + 1)
    if not isinstance(schema, Mapping) or depth > MAX_DEPTH:
        return
    for keyword, value in schema.items():
        if keyword in DISPENSABLE and (keyword != "type" or isinstance(value, list)):
            yield keyword
        if keyword in _MAPS and isinstance(value, Mapping):
            for each in value.values():
                yield from keywords_in(each, depth + 1)
        elif keyword not in _VALUES:
            yield from keywords_in(value, depth + 1)


def without_keywords(schema: Any, refused: Collection[str], depth: int = 0) -> Any:
    """Returns the schema without these keywords."""
    if isinstance(schema, list):
        return [without_keywords(each, refused, depth + 1) for each in schema]
    if not isinstance(schema, Mapping) or depth > MAX_DEPTH:
        return schema
    found: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword in _MAPS and isinstance(value, Mapping):
            found[keyword] = {name: without_keywords(each, refused, depth + 1) for name, each in value.items()}
        elif keyword in _VALUES and keyword not in refused:
            found[keyword] = value
        elif keyword not in refused or (keyword == "type" and not isinstance(value, list)):
            found[keyword] = without_keywords(value, refused, depth + 1)
        elif keyword == "type":
            found[keyword] = next((each for each in value if each != "null"), "null")
        elif keyword == "const":
            found["enum"] = [value]
        elif keyword == "oneOf":
            found["anyOf"] = without_keywords(value, refused, depth + 1)
    return found
