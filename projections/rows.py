"""Between the API's objects and their rows, and the cursors of lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import orjson

Order = Literal["asc", "desc"]
T = TypeVar("T")
# Where something stands in prompts: what a run wrote at the position of the run, what a client said at its own; then by
# its own position.
PromptPosition = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list, in the order asked for; `more` says whether the list goes on in the direction of paging."""

    items: list[T]
    more: bool


@dataclass(frozen=True, slots=True)
class OverdueStream:
    """A stream whose time is up."""

    id: str
    project_id: str


@dataclass(frozen=True, slots=True)
class Cursor:
    """What part of a list is asked for: `limit` objects in `order`, behind the id `after` and in front of `before`."""

    limit: int
    order: Order = "desc"
    after: str | None = None
    before: str | None = None

    @property
    def backwards(self) -> bool:
        """With `before` alone the page ends at that object: it is read from there, against the order."""
        return self.before is not None and self.after is None

    @property
    def scan(self) -> Order:
        """The direction in which rows are read."""
        if not self.backwards:
            return self.order
        return "asc" if self.order == "desc" else "desc"

    def bounds(self, after: T | None, before: T | None) -> tuple[T | None, T | None]:
        """The places of `after` and `before` as (lower, upper) bounds, both excluded."""
        return (after, before) if self.order == "asc" else (before, after)

    def page(self, found: Sequence[T]) -> Page[T]:
        """The page in what was read with a limit one higher than asked."""
        items = list(found[: self.limit])
        return Page(items[::-1] if self.backwards else items, more=len(found) > self.limit)


def dump(value: object) -> str:
    """JSON text of a dataclass or a plain value, its keys in their own order."""
    return orjson.dumps(value).decode()


def load_fields(body: str, progress: str | None = None) -> dict[str, Any]:
    """The fields of an object: those it was created with, under those that have changed."""
    fields: dict[str, Any] = orjson.loads(body)
    if progress is not None and progress != "{}":
        fields.update(orjson.loads(progress))
    return fields


def replace_fields(body: str, changes: Mapping[str, Any]) -> str:
    """A body with some fields replaced."""
    return dump(orjson.loads(body) | dict(changes))
