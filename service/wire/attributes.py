"""Parses the attributes of files in vector stores, and the filters of searches over them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Discriminator, Field, Strict, Tag
from pydantic_core import PydanticCustomError

from service.wire.fields import Flag, RequestBody, StrictText, has_at_most, union_by_json_type
from service.wire.integers import HugeInteger, require_64_bits

MAX_ATTRIBUTES = 16
MAX_ATTRIBUTE_KEY = 64
MAX_ATTRIBUTE_VALUE = 512
# Limits of our own: they bound the work that one search gives the database.
MAX_FILTER_DEPTH = 16
MAX_FILTERS = 256
MAX_FILTER_VALUES = 1_000

_Number = Annotated[
    Annotated[int, Strict()] | Annotated[float, Strict(), Field(allow_inf_nan=False)],
    Field(union_mode="smart"),
    BeforeValidator(require_64_bits),
]
_JSON_TYPES: dict[type, str] = {str: "|text", bool: "|flag", int: "|number", float: "|number", HugeInteger: "|number"}
_Word = Annotated[str, Strict(), Field(max_length=MAX_ATTRIBUTE_VALUE)]
Value = Annotated[
    Annotated[_Word, Tag("|text")] | Annotated[Flag, Tag("|flag")] | Annotated[_Number, Tag("|number")],
    union_by_json_type(_JSON_TYPES, "one of a string, number or boolean"),
]
Attributes = Annotated[
    dict[Annotated[str, Strict(), Field(max_length=MAX_ATTRIBUTE_KEY)], Value],
    Field(max_length=MAX_ATTRIBUTES),
    has_at_most(MAX_ATTRIBUTES),
]

_COMPARISONS = ("eq", "ne", "gt", "gte", "lt", "lte", "in", "nin")
_COMPOUNDS = ("and", "or")
_Values = Annotated[list[Value], Field(fail_fast=True, max_length=MAX_FILTER_VALUES)]


class Comparison(RequestBody):
    type: Literal["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin"]
    key: StrictText
    value: Annotated[
        Annotated[_Word, Tag("|text")]
        | Annotated[Flag, Tag("|flag")]
        | Annotated[_Number, Tag("|number")]
        | Annotated[_Values, Tag("|list")],
        union_by_json_type({**_JSON_TYPES, list: "|list"}, "one of a string, number, boolean or array"),
    ]


class Compound(RequestBody):
    type: Literal["and", "or"]
    filters: Annotated[list[AnyFilter], Field(fail_fast=True, min_length=1, max_length=MAX_FILTERS)]


def _tag(value: Any) -> str | None:
    found = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    if not isinstance(found, str):
        return None
    return "|comparison" if found in _COMPARISONS else "|compound" if found in _COMPOUNDS else None


def _check_operand(comparison: Comparison) -> Comparison:
    """Raises PydanticCustomError unless the operand is an array for in and nin, and a scalar for other operators."""
    wants_array = comparison.type in ("in", "nin")
    if wants_array != isinstance(comparison.value, list):
        expected = "an array" if wants_array else "a string, number or boolean"
        context = {"type": comparison.type, "expected": expected}
        raise PydanticCustomError("filter_value", "'{type}' compares with {expected}", context)
    return comparison


def _check_bounds(value: Any) -> Any:
    """Raises PydanticCustomError if the filter has too many parts, levels or values. Runs before pydantic recurses."""
    level, depth, count, values = [value], 0, 0, 0
    while level:
        depth, count = depth + 1, count + len(level)
        if depth > MAX_FILTER_DEPTH:
            context: dict[str, Any] = {"depth": MAX_FILTER_DEPTH}
            raise PydanticCustomError("too_deep", "filters are nested deeper than {depth} levels", context)
        if count > MAX_FILTERS:
            raise PydanticCustomError("too_many", "more than {count} filters", {"count": MAX_FILTERS})
        objects = [one for one in level if isinstance(one, dict)]
        values += sum(len(one["value"]) for one in objects if isinstance(one.get("value"), list))
        if values > MAX_FILTER_VALUES:
            raise PydanticCustomError("too_many", "more than {count} values in filters", {"count": MAX_FILTER_VALUES})
        level = [one for some in objects if isinstance(some.get("filters"), list) for one in some["filters"]]
    return value


AnyFilter = Annotated[
    Annotated[Comparison, AfterValidator(_check_operand), Tag("|comparison")] | Annotated[Compound, Tag("|compound")],
    Discriminator(_tag, "bad_tag", f"an object;{','.join((*_COMPARISONS, *_COMPOUNDS))}"),
]
Filter = Annotated[AnyFilter, BeforeValidator(_check_bounds)]
Compound.model_rebuild()


def filter_json(filter: BaseModel) -> dict[str, Any]:
    """Returns the filter as plain JSON, for `service.search.filters`."""
    return filter.model_dump()
