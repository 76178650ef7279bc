"""Query parameters. Those that no operation knows are ignored, as the original did."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, cast

from events.errors import Rejected
from service.wire import storable_text
from service.wire.api import Filters, Page
from service.wire.fields import DEFAULT_PAGE, MAX_METADATA_KEY, MAX_METADATA_PAIRS, MAX_METADATA_VALUE, MAX_PAGE
from service.wire.validation_errors import SHOWN, invalid_value, out_of_range

ORDERS = ("asc", "desc")
PAGING = frozenset({"limit", "order", "after", "before"})
# The end of the year 9000.
MAX_SECONDS = 221_876_841_599
_BOUNDS = ("gt]", "gte]", "lt]", "lte]")
CONTENT = "step_details.tool_calls[*].file_search.results[*].content"


def page(query: Mapping[str, str], *, most: int = MAX_PAGE, default: int = DEFAULT_PAGE) -> Page:
    """Raises Rejected for a limit that is no integer from 1 to `most`, or an order that is none."""
    order = query.get("order") or "desc"
    if order not in ORDERS:
        raise invalid_value("order", order, ORDERS)
    return Page(
        limit=_limit(query.get("limit"), most, default),
        order=cast(Literal["asc", "desc"], order),
        after=object_id(query, "after"),
        before=object_id(query, "before"),
    )


def include(values: Sequence[str], known: Sequence[str]) -> frozenset[str]:
    """Raises Rejected for a value that the version does not know."""
    for value in values:
        if value not in known:
            raise invalid_value("include", value, known)
    return frozenset(values)


def object_id(query: Mapping[str, str], name: str) -> str | None:
    """Any id will do, but for one that no database could be asked for."""
    given = query.get(name)
    if given and not storable_text.fit(given):
        raise storable_text.refusal(name)
    return given or None


def filters(query: Mapping[str, str], known: Collection[str] | None = None) -> Filters:
    """`metadata[key]=value` and `created_at[gte]=seconds` (gt, lt, lte), which must all hold.

    With `known` every other parameter is refused: a filter that is misspelt must not find everything. Raises Rejected.
    """
    metadata: dict[str, str] = {}
    bounds: dict[str, int] = {}
    for name, value in query.items():
        of, bracket, rest = name.partition("[")
        if of == "metadata" or (of == "created_at" and not bracket):
            if not (bracket and rest.endswith("]")) or not storable_text.fit(name) or not storable_text.fit(value):
                raise _no_filter(of)
            _add_pair(metadata, rest[:-1], value)
        elif of == "created_at":
            if rest not in _BOUNDS:
                raise _no_filter(of)
            if rest in bounds:
                raise Rejected(f"'{name}' was given more than once.", param=name, code="invalid_value")
            bounds[rest] = _seconds(name, value)
        elif known is not None and name not in known:
            raise Rejected(f"Unknown parameter: '{name[:SHOWN]}'.", param=name[:SHOWN], code="unknown_parameter")
    since = [bounds[name] + after for name, after in (("gte]", 0), ("gt]", 1)) if name in bounds]
    until = [bounds[name] + after for name, after in (("lt]", 0), ("lte]", 1)) if name in bounds]
    return Filters(tuple(metadata.items()), max(since, default=None), min(until, default=None))


def _add_pair(metadata: dict[str, str], key: str, value: str) -> None:
    name = f"metadata[{key[:SHOWN]}]"
    if key in metadata:
        raise Rejected(f"'{name}' was given more than once.", param=name, code="invalid_value")
    if not 0 < len(key) <= MAX_METADATA_KEY or len(value) > MAX_METADATA_VALUE:
        message = f"Keys of metadata have 1 to {MAX_METADATA_KEY} characters, values up to {MAX_METADATA_VALUE}."
        raise Rejected(f"Invalid '{name}': {message}", param=name, code="invalid_value")
    if len(metadata) == MAX_METADATA_PAIRS:
        message = f"Invalid 'metadata': no object has more than {MAX_METADATA_PAIRS} pairs."
        raise Rejected(message, param="metadata", code="object_above_max_properties")
    metadata[key] = value


def _no_filter(name: str) -> Rejected:
    forms = {"metadata": "metadata[key]=value", "created_at": "created_at[gte]=seconds, with gt, gte, lt or lte"}
    return Rejected(f"Invalid '{name}': write {forms[name]}.", param=name, code="invalid_value")


def _seconds(name: str, value: str) -> int:
    """A time as objects show theirs: seconds since 1970."""
    if not (value.isascii() and value.isdigit()) or len(value) > 12 or int(value) > MAX_SECONDS:
        message = f"Invalid type for '{name}': expected an integer, the seconds since 1970."
        raise Rejected(message, param=name, code="invalid_type")
    return int(value)


def _limit(given: str | None, most: int, default: int) -> int:
    if given is None or given == "":
        return default
    digits = given.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 18:
        message = "Invalid type for 'limit': expected an integer, but got a string instead."
        raise Rejected(message, param="limit", code="invalid_type")
    limit = int(given)
    if limit > most:
        raise out_of_range("limit", "integer", limit, most, above=True)
    if limit < 1:
        raise out_of_range("limit", "integer", limit, 1, above=False)
    return limit
