"""Parses query parameters. Parameters that the operation does not have are ignored, as the original API does."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, cast

from events.errors import Rejection
from service.wire import storable_text
from service.wire.fields import DEFAULT_PAGE, MAX_METADATA_KEY, MAX_METADATA_PAIRS, MAX_METADATA_VALUE, MAX_PAGE
from service.wire.request_types import ListFilters, ListQuery
from service.wire.validation_errors import MAX_ECHO, invalid_value, out_of_range

ORDERS = ("asc", "desc")
PAGING = frozenset({"limit", "order", "after", "before"})
# The end of the year 9000.
MAX_SECONDS = 221_876_841_599
_BOUNDS = ("gt]", "gte]", "lt]", "lte]")
SEARCH_RESULT_CONTENT = "step_details.tool_calls[*].file_search.results[*].content"


def parse_list_query(query: Mapping[str, str], *, most: int = MAX_PAGE, default: int = DEFAULT_PAGE) -> ListQuery:
    """Raises Rejection if the limit is not an integer from 1 to `most`, or the order is unknown."""
    order = query.get("order") or "desc"
    if order not in ORDERS:
        raise invalid_value("order", order, ORDERS)
    return ListQuery(
        limit=_parse_limit(query.get("limit"), most, default),
        order=cast(Literal["asc", "desc"], order),
        after=parse_id(query, "after"),
        before=parse_id(query, "before"),
    )


def parse_include(values: Sequence[str], known: Sequence[str]) -> frozenset[str]:
    """Raises Rejection if a value is not one of `known`."""
    for value in values:
        if value not in known:
            raise invalid_value("include", value, known)
    return frozenset(values)


def parse_id(query: Mapping[str, str], name: str) -> str | None:
    """Returns the id in a parameter, or None. Raises Rejection if Postgres cannot hold the id."""
    given = query.get(name)
    if given and not storable_text.is_storable(given):
        raise storable_text.unstorable(name)
    return given or None


def parse_list_filters(query: Mapping[str, str], known: Collection[str] | None = None) -> ListFilters:
    """Parses `metadata[key]=value` and `created_at[gte]=seconds` (gt, gte, lt, lte). All conditions must hold.

    If `known` is given, parameters that are not in it are refused, so that a misspelt filter does not match everything.
    Raises Rejection.
    """
    metadata: dict[str, str] = {}
    bounds: dict[str, int] = {}
    for name, value in query.items():
        of, bracket, rest = name.partition("[")
        if of == "metadata" or (of == "created_at" and not bracket):
            if (
                not (bracket and rest.endswith("]"))
                or not storable_text.is_storable(name)
                or not storable_text.is_storable(value)
            ):
                raise _invalid_filter(of)
            _add_pair(metadata, rest[:-1], value)
        elif of == "created_at":
            if rest not in _BOUNDS:
                raise _invalid_filter(of)
            if rest in bounds:
                raise Rejection(f"'{name}' was given more than once.", param=name, code="invalid_value")
            bounds[rest] = _parse_seconds(name, value)
        elif known is not None and name not in known:
            raise Rejection(f"Unknown parameter: '{name[:MAX_ECHO]}'.", param=name[:MAX_ECHO], code="unknown_parameter")
    since = [bounds[name] + after for name, after in (("gte]", 0), ("gt]", 1)) if name in bounds]
    until = [bounds[name] + after for name, after in (("lt]", 0), ("lte]", 1)) if name in bounds]
    return ListFilters(tuple(metadata.items()), max(since, default=None), min(until, default=None))


def _add_pair(metadata: dict[str, str], key: str, value: str) -> None:
    name = f"metadata[{key[:MAX_ECHO]}]"
    if key in metadata:
        raise Rejection(f"'{name}' was given more than once.", param=name, code="invalid_value")
    if not 0 < len(key) <= MAX_METADATA_KEY or len(value) > MAX_METADATA_VALUE:
        message = f"Keys of metadata have 1 to {MAX_METADATA_KEY} characters, values up to {MAX_METADATA_VALUE}."
        raise Rejection(f"Invalid '{name}': {message}", param=name, code="invalid_value")
    if len(metadata) == MAX_METADATA_PAIRS:
        message = f"Invalid 'metadata': no object has more than {MAX_METADATA_PAIRS} pairs."
        raise Rejection(message, param="metadata", code="object_above_max_properties")
    metadata[key] = value


def _invalid_filter(name: str) -> Rejection:
    forms = {"metadata": "metadata[key]=value", "created_at": "created_at[gte]=seconds, with gt, gte, lt or lte"}
    return Rejection(f"Invalid '{name}': write {forms[name]}.", param=name, code="invalid_value")


def _parse_seconds(name: str, value: str) -> int:
    """Returns a time in seconds since 1970. Raises Rejection."""
    if not (value.isascii() and value.isdigit()) or len(value) > 12 or int(value) > MAX_SECONDS:
        message = f"Invalid type for '{name}': expected an integer, the seconds since 1970."
        raise Rejection(message, param=name, code="invalid_type")
    return int(value)


def _parse_limit(given: str | None, most: int, default: int) -> int:
    if given is None or given == "":
        return default
    digits = given.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 18:
        message = "Invalid type for 'limit': expected an integer, but got a string instead."
        raise Rejection(message, param="limit", code="invalid_type")
    limit = int(given)
    if limit > most:
        raise out_of_range("limit", "integer", limit, most, above=True)
    if limit < 1:
        raise out_of_range("limit", "integer", limit, 1, above=False)
    return limit


def parse_bounded_integer(query: Mapping[str, str], name: str, least: int, most: int, default: int) -> int:
    """Returns the integer of a parameter, or the default if it is missing. Raises Rejection if it is out of bounds."""
    given = query.get(name)
    if not given:
        return default
    digits = given.removeprefix("-")
    number = int(given) if digits.isascii() and digits.isdigit() and len(digits) < 20 else None
    if number is None or not least <= number <= most:
        message = f"Invalid '{name}': must be an integer from {least} to {most}."
        raise Rejection(message, param=name, code="invalid_value")
    return number
