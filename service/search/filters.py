"""Attribute filters as a single jsonpath predicate, so that any filter is one parameter of one query.

A filter has been validated by `service.wire`: it is `{"type": "and" | "or", "filters": […]}`, or `{"type", "key",
"value"}` with the type eq, ne, gt, gte, lt or lte, or with the type in or nin if the value is a list. If a file lacks
the attribute, or has it with a value of another type, that attribute is neither equal to nor greater nor smaller than
the filter's value: `ne` and `nin` match the file, and all other types do not. In jsonpath such a comparison is unknown;
`exists` turns that into false, so its negation is true.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_OPERATORS = {"eq": "==", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def jsonpath(filter: Mapping[str, Any]) -> str:
    """Returns the predicate for `attributes @@ $n::jsonpath`. Every value in it is quoted as JSON."""
    operation = filter["type"]
    match operation:
        case "and" | "or":
            glue = " && " if operation == "and" else " || "
            return glue.join(f"({jsonpath(part)})" for part in filter["filters"])
        case "ne":
            return f"!{_exists(filter['key'], '==', filter['value'])}"
        case "in":
            return _any_equal(filter)
        case "nin":
            return f"!({_any_equal(filter)})"
        case _:
            return _exists(filter["key"], _OPERATORS[operation], filter["value"])


def _any_equal(filter: Mapping[str, Any]) -> str:
    """Returns the predicate of `in`; an empty list matches no file."""
    return " || ".join(_exists(filter["key"], "==", value) for value in filter["value"]) or "1 == 0"


def _exists(key: str, operator: str, value: str | float | bool) -> str:
    return f"exists($.{json.dumps(key)} ? (@ {operator} {json.dumps(value)}))"
