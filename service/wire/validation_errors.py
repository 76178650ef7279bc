"""Translates pydantic's validation errors into the API's error texts.

The tags of unions begin with "|" (`fields.union_by_type`). They are not part of a parameter's path.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from events.errors import Rejection

_JSON_TYPES: tuple[tuple[type, str], ...] = (
    (bool, "a boolean"),
    (int, "an integer"),
    (float, "a decimal"),
    (str, "a string"),
    (list, "an array"),
    (dict, "an object"),
)
_EXPECTED = {
    "string_type": "a string",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a decimal",
    "bool_type": "a boolean",
    "list_type": "an array",
    "tuple_type": "an array",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "finite_number": "a finite number",
}
# Characters of a value from the request that an error repeats.
MAX_ECHO = 100
MAX_PATH = 500


def to_rejection(error: ValidationError) -> Rejection:
    """Returns the error for the first problem. Unknown parameters come after all other problems."""
    found = error.errors(include_url=False)
    return _translate(min(found, key=lambda detail: detail["type"] == "extra_forbidden"))


def invalid_type(param: str, expected: str, got: object) -> Rejection:
    message = f"Invalid type for '{param}': expected {expected}, but got {json_type(got)} instead."
    return Rejection(message, param=param or None, code="invalid_type")


def invalid_value(param: str, value: object, supported: Sequence[str]) -> Rejection:
    message = f"Invalid value: '{str(value)[:MAX_ECHO]}'. Supported values are: {quoted_list(supported)}."
    return Rejection(message, param=param or None, code="invalid_value")


def missing_parameter(param: str) -> Rejection:
    return Rejection(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")


def out_of_range(param: str, number: str, value: object, bound: object, *, above: bool) -> Rejection:
    """`number` is "integer" or "decimal"."""
    side, sign, word = ("above maximum", "<=", "above_max") if above else ("below minimum", ">=", "below_min")
    message = f"Invalid '{param}': {number} {side} value. Expected a value {sign} {bound}, but got {value} instead."
    return Rejection(message, param=param, code=f"{number}_{word}_value")


def quoted_list(values: Sequence[str]) -> str:
    """Returns the values as a list in English: `'a', 'b', and 'c'`."""
    quoted = [f"'{value}'" for value in values]
    if len(quoted) < 3:
        return " and ".join(quoted)
    return f"{', '.join(quoted[:-1])}, and {quoted[-1]}"


def json_type(value: object) -> str:
    """Returns the name of the value's JSON type, for example "a string"."""
    return next((name for type_, name in _JSON_TYPES if isinstance(value, type_)), "null")


def parameter_path(loc: Sequence[int | str]) -> str:
    """Returns `messages[0].content` for ("messages", 0, "|user", "content")."""
    found = ""
    for part in loc:
        if isinstance(part, int):
            found += f"[{part}]"
        elif not part.startswith("|") and part != "[key]":
            found += f".{part}" if found else part
    return found[:MAX_PATH]


def _translate(detail: ErrorDetails) -> Rejection:
    kind, param, got = detail["type"], parameter_path(detail["loc"]), detail["input"]
    context: dict[str, Any] = detail.get("ctx", {})
    if kind in _EXPECTED:
        return invalid_type(param, _EXPECTED[kind], got)
    match kind:
        case "missing":
            return missing_parameter(param)
        case "invalid_schema":
            return Rejection(context["text"], param=context["param"])
        case "extra_forbidden":
            return Rejection(f"Unknown parameter: '{param}'.", param=param, code="unknown_parameter")
        case "literal_error":
            return _literal(param, got, context)
        case "bad_tag":
            return _bad_tag(param, got, detail["msg"])
        case "less_than_equal" | "greater_than_equal":
            above = kind == "less_than_equal"
            bound = context["le" if above else "ge"]
            number = "decimal" if isinstance(bound, float) else "integer"
            return out_of_range(param, number, got, _plain(bound), above=above)
        case _:
            return _length(kind, param, got, context, detail["msg"])


def _literal(param: str, got: object, context: dict[str, Any]) -> Rejection:
    supported = [word.strip("' ") for word in context["expected"].replace(" or ", ", ").split(",")]
    if not isinstance(got, str):
        return invalid_type(param, f"one of {quoted_list(supported)}", got)
    return invalid_value(param, got, supported)


def _bad_tag(param: str, got: object, said: str) -> Rejection:
    """Returns the error for a union without a matching alternative: a wrong JSON type, or an unknown `type`."""
    expected, _, values = said.partition(";")
    if not isinstance(got, dict) or not values:
        return invalid_type(param, expected, got)
    tag = f"{param}.type" if param else "type"
    if "type" not in got:
        return missing_parameter(tag)
    if not isinstance(got["type"], str):
        return invalid_type(tag, "a string", got["type"])
    return invalid_value(tag, got["type"], values.split(","))


def _length(kind: str, param: str, got: Any, context: dict[str, Any], said: str) -> Rejection:
    match kind:
        case "string_too_long":
            most = context["max_length"]
            message = (
                f"Invalid '{param}': string too long. Expected a string with maximum length {most}, but got a string"
                f" with length {len(got)} instead."
            )
            return Rejection(message, param=param, code="string_above_max_length")
        case "string_too_short":
            message = (
                f"Invalid '{param}': empty string. Expected a string with minimum length {context['min_length']}, but"
                " got an empty string instead."
            )
            return Rejection(message, param=param, code="empty_string")
        case "string_pattern_mismatch":
            message = (
                f"Invalid '{param}': string does not match pattern. Expected a string that matches the pattern"
                f" '{context['pattern']}'."
            )
            return Rejection(message, param=param, code="invalid_value")
        case "too_long" if isinstance(got, dict):
            message = (
                f"Invalid '{param}': too many properties. Expected an object with at most {context['max_length']}"
                f" properties, but got an object with {len(got)} properties instead."
            )
            return Rejection(message, param=param, code="object_above_max_properties")
        case "too_long":
            message = (
                f"Invalid '{param}': array too long. Expected an array with maximum length {context['max_length']}, but"
                f" got an array with length {len(got)} instead."
            )
            return Rejection(message, param=param, code="array_above_max_length")
        case "too_short":
            message = (
                f"Invalid '{param}': empty array. Expected an array with minimum length {context['min_length']}, but"
                " got an empty array instead."
            )
            return Rejection(message, param=param, code="empty_array")
        case "invalid_url":
            return Rejection(f"Invalid '{param}'. {said}", param=param, code="invalid_value")
        case _:
            return Rejection(f"Invalid '{param}': {said}", param=param or None, code="invalid_value")


def _plain(bound: float) -> float | int:
    return int(bound) if float(bound).is_integer() else bound
