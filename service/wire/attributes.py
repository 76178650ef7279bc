"""Attributes of files in vector stores, and the filters over them that searches have."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Discriminator, Field, Strict, Tag
from pydantic_core import PydanticCustomError

from service.wire.fields import Flag, Request, Text, by_kind
from service.wire.integers import Huge, known

MAX_ATTRIBUTES = 16
MAX_ATTRIBUTE_KEY = 64
MAX_ATTRIBUTE_VALUE = 512
# Ours: they bound what one search may ask of the database.
MAX_FILTER_DEPTH = 16
MAX_FILTERS = 256
MAX_FILTER_VALUES = 1_000

_Number = Annotated[
    Annotated[int, Strict()] | Annotated[float, Strict(), Field(allow_inf_nan=False)],
    Field(union_mode="smart"),
    BeforeValidator(known),
]
_KINDS: dict[type, str] = {str: "|text", bool: "|flag", int: "|number", float: "|number", Huge: "|number"}
_Word = Annotated[str, Strict(), Field(max_length=MAX_ATTRIBUTE_VALUE)]
Value = Annotated[
    Annotated[_Word, Tag("|text")] | Annotated[Flag, Tag("|flag")] | Annotated[_Number, Tag("|number")],
    by_kind(_KINDS, "one of a string, number or boolean"),
]
Attributes = Annotated[
    dict[Annotated[str, Strict(), Field(max_length=MAX_ATTRIBUTE_KEY)], Value], Field(max_length=MAX_ATTRIBUTES)
]

_COMPARISONS = ("eq", "ne", "gt", "gte", "lt", "lte", "in", "nin")
_COMPOUNDS = ("and", "or")
_Values = Annotated[list[Value], Field(max_length=MAX_FILTER_VALUES)]


class Comparison(Request):
    type: Literal["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin"]
    key: Text
    value: Annotated[
        Annotated[_Word, Tag("|text")]
        | Annotated[Flag, Tag("|flag")]
        | Annotated[_Number, Tag("|number")]
        | Annotated[_Values, Tag("|list")],
        by_kind({**_KINDS, list: "|list"}, "one of a string, number, boolean or array"),
    ]


class Compound(Request):
    type: Literal["and", "or"]
    filters: Annotated[list[AnyFilter], Field(min_length=1, max_length=MAX_FILTERS)]


def _tag(value: Any) -> str | None:
    found = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    if not isinstance(found, str):
        return None
    return "|comparison" if found in _COMPARISONS else "|compound" if found in _COMPOUNDS else None


def _listed(comparison: Comparison) -> Comparison:
    """A list where the operator wants one, and nowhere else."""
    wants = comparison.type in ("in", "nin")
    if wants != isinstance(comparison.value, list):
        expected = "an array" if wants else "a string, number or boolean"
        told = {"type": comparison.type, "expected": expected}
        raise PydanticCustomError("filter_value", "'{type}' compares with {expected}", told)
    return comparison


def _bounded(value: Any) -> Any:
    """Filters are as many, as deep and of as many values as the limits say: looked at before anything walks them."""
    level, depth, count, values = [value], 0, 0, 0
    while level:
        depth, count = depth + 1, count + len(level)
        if depth > MAX_FILTER_DEPTH:
            told: dict[str, Any] = {"depth": MAX_FILTER_DEPTH}
            raise PydanticCustomError("too_deep", "filters are nested deeper than {depth} levels", told)
        if count > MAX_FILTERS:
            raise PydanticCustomError("too_many", "more than {count} filters", {"count": MAX_FILTERS})
        objects = [one for one in level if isinstance(one, dict)]
        values += sum(len(one["value"]) for one in objects if isinstance(one.get("value"), list))
        if values > MAX_FILTER_VALUES:
            raise PydanticCustomError("too_many", "more than {count} values in filters", {"count": MAX_FILTER_VALUES})
        level = [one for some in objects if isinstance(some.get("filters"), list) for one in some["filters"]]
    return value


AnyFilter = Annotated[
    Annotated[Comparison, AfterValidator(_listed), Tag("|comparison")] | Annotated[Compound, Tag("|compound")],
    Discriminator(_tag, "bad_tag", f"an object;{','.join((*_COMPARISONS, *_COMPOUNDS))}"),
]
Filter = Annotated[AnyFilter, BeforeValidator(_bounded)]
Compound.model_rebuild()


def plain(filter: BaseModel) -> dict[str, Any]:
    """The filter as `service.search.filters` wants it."""
    return filter.model_dump()
