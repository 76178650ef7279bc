"""Conversion between the API's objects and their rows, and the cursors of lists."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import orjson

from events.envelope import RecordedEvent
from events.objects import Assistant, Run

Order = Literal["asc", "desc"]
T = TypeVar("T")
Merge = Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]
# Bytes of JSON after which a page ends, although it has fewer objects than were asked for. Its last object may exceed
# them.
MAX_PAGE_BYTES = 4 * 1024**2
# Rows, and bytes of their JSON, that are converted in one turn of the event loop. The last row may exceed the bytes.
MAX_TURN_ROWS = 200
MAX_TURN_BYTES = 256 * 1024
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


def dump(value: object) -> bytes:
    """Returns the JSON of a dataclass or a plain value, with its keys in their own order."""
    return orjson.dumps(value)


def dump_settings(value: Assistant | Run) -> bytes:
    """Returns the JSON of an object with settings. An empty `explicit_defaults` is left out, as in older rows."""
    names = (name for name in value.__slots__ if name != "explicit_defaults" or value.explicit_defaults)
    return dump({name: getattr(value, name) for name in names})


def load_fields(body: bytes, patches: Sequence[bytes | None] = (), merge: Merge = dict.__or__) -> dict[str, Any]:
    """Returns the fields of an object: those of its body, changed by its patches in order.

    `merge` returns the fields after a patch; by default, the fields that the patch names are replaced.
    """
    fields: dict[str, Any] = orjson.loads(body)
    for patch in patches:
        if patch is not None:
            fields = merge(fields, orjson.loads(patch))
    return fields


async def load_rows(rows: Sequence[Mapping[str, Any]], load: Callable[[Mapping[str, Any]], T]) -> list[T | None]:
    """Returns the objects that `load` makes of the rows; None for a row without a body.

    Other work gets its turn of the event loop after every MAX_TURN_ROWS rows, and after every MAX_TURN_BYTES bytes.
    """
    found: list[T | None] = []
    count, size = 0, 0
    for row in rows:
        if count >= MAX_TURN_ROWS or size >= MAX_TURN_BYTES:
            await asyncio.sleep(0)
            count, size = 0, 0
        body = row["body"]
        found.append(load(row) if body else None)
        count, size = count + 1, size + len(body or b"")
    return found


async def load_page(rows: Sequence[Mapping[str, Any]], load: Callable[[Mapping[str, Any]], T], limit: int) -> Page[T]:
    """Returns the page of the objects that `load` makes of rows, which were read with a limit of one more than `limit`.

    Rows beyond the bytes of a page have no body; they are left to the next page. The first row has one.
    """
    items = [item for item in await load_rows(rows[:limit], load) if item is not None]
    return Page(items, more=len(rows) > len(items))


def field_patches(changes: Mapping[str, Any], places: Sequence[str]) -> list[bytes | None]:
    """Returns a patch for each field of `places` that changes, and None for each other one.

    A row keeps one patch for each place, so it does not grow with the number of its changes.
    """
    return [dump({name: changes[name]}) if name in changes else None for name in places]


def split_at_deletion(
    batch: Sequence[RecordedEvent[Any]], deletion: type[Any]
) -> tuple[bool, Sequence[RecordedEvent[Any]]]:
    """Returns whether the batch deletes the stream's object, and the events after the last deletion.

    The rows of the events before it would be deleted again.
    """
    for index in range(len(batch) - 1, -1, -1):
        if type(batch[index].event) is deletion:
            return True, batch[index + 1 :]
    return False, batch
