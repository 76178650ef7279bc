"""Query parameters. Those that no operation knows are ignored, as the original did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, cast

from events.errors import Rejected
from service.wire import text
from service.wire.base import Page
from service.wire.fields import DEFAULT_PAGE, MAX_PAGE
from service.wire.problems import invalid_value, out_of_range

ORDERS = ("asc", "desc")
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
    if given and not text.fit(given):
        raise text.refusal(name)
    return given or None


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
