"""Conversion between the API's objects and their rows, and the cursors of lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import orjson

from events.objects import Assistant, Run

Order = Literal["asc", "desc"]
T = TypeVar("T")
# Bytes of JSON after which a page ends, although it has fewer objects than were asked for. Its last object may exceed
# them.
MAX_PAGE_BYTES = 4 * 1024**2
# The position of a message in prompts: a run's messages have the position of the run, a client's their own; then the
# own position of each.
PromptPosition = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list, in the requested order. `more` says if the list continues in the direction of paging."""

    items: list[T]
    more: bool


@dataclass(frozen=True, slots=True)
class OverdueStream:
    """A stream that has expired."""

    id: str
    project_id: str


@dataclass(frozen=True, slots=True)
class Cursor:
    """The requested part of a list: `limit` objects in `order`, behind the id `after` and in front of `before`."""

    limit: int
    order: Order = "desc"
    after: str | None = None
    before: str | None = None

    @property
    def backwards(self) -> bool:
        """Whether the page is read backwards: with `before` alone, it ends at that object."""
        return self.before is not None and self.after is None

    @property
    def scan(self) -> Order:
        """The direction in which rows are read."""
        if not self.backwards:
            return self.order
        return "asc" if self.order == "desc" else "desc"

    def bounds(self, after: T | None, before: T | None) -> tuple[T | None, T | None]:
        """Returns the positions of `after` and `before` as (lower, upper) bounds, both exclusive."""
        return (after, before) if self.order == "asc" else (before, after)

    def page(self, found: Sequence[T | None]) -> Page[T]:
        """Returns the page from rows that were read with a limit one higher than requested.

        Rows beyond MAX_PAGE_BYTES are None; they are left to the next page. The first is never None.
        """
        items = [item for item in found[: self.limit] if item is not None]
        return Page(items[::-1] if self.backwards else items, more=len(found) > len(items))


def dump(value: object) -> str:
    """Returns the JSON text of a dataclass or a plain value, with its keys in their own order."""
    return orjson.dumps(value).decode()


def dump_settings(value: Assistant | Run) -> str:
    """Returns the JSON text of an object with settings. An empty `explicit_defaults` is left out, as in older rows."""
    names = (name for name in value.__slots__ if name != "explicit_defaults" or value.explicit_defaults)
    return dump({name: getattr(value, name) for name in names})


def load_fields(body: str, progress: str | None = None) -> dict[str, Any]:
    """Returns the fields of an object: its original fields, overridden by the changed ones."""
    fields: dict[str, Any] = orjson.loads(body)
    if progress is not None and progress != "{}":
        fields.update(orjson.loads(progress))
    return fields


def replace_fields(body: str, changes: Mapping[str, Any]) -> str:
    """Returns a body with some fields replaced."""
    return dump(orjson.loads(body) | dict(changes))
