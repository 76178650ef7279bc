"""Attribute filters as one jsonpath predicate, so that any filter is one parameter of one query.

A filter has been validated (`service.wire`): `{"type": "and" | "or", "filters": […]}`, or `{"type", "key", "value"}`
with the types eq, ne, gt, gte, lt, lte and, where the value is a list, in and nin. A file without the attribute, or
with one of another type, is not equal to the value, nor greater nor smaller: `ne` and `nin` find it, all others do not.
In jsonpath such a comparison is unknown; `exists` makes that false, so that a negation makes it true.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_OPERATORS = {"eq": "==", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def jsonpath(filter: Mapping[str, Any]) -> str:
    """The predicate, for `attributes @@ $n::jsonpath`. Every value in it is quoted as JSON."""
    kind = filter["type"]
    match kind:
        case "and" | "or":
            glue = " && " if kind == "and" else " || "
            return glue.join(f"({jsonpath(part)})" for part in filter["filters"])
        case "ne":
            return f"!{_exists(filter['key'], '==', filter['value'])}"
        case "in":
            return _any(filter)
        case "nin":
            return f"!({_any(filter)})"
        case _:
            return _exists(filter["key"], _OPERATORS[kind], filter["value"])


def _any(filter: Mapping[str, Any]) -> str:
    """Nothing is in an empty list."""
    return " || ".join(_exists(filter["key"], "==", value) for value in filter["value"]) or "1 == 0"


def _exists(key: str, operator: str, value: str | float | bool) -> str:
    return f"exists($.{json.dumps(key)} ? (@ {operator} {json.dumps(value)}))"
