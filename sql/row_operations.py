"""Operations on rows, and the statements that carry them out: one by one, or all of an append as one statement.

The texts are the blocks of `rows/*.sql`. Every block changes rows of one table. It works only if the relation `head`
has a row, which the append's move of its stream's head returns: an append whose head has changed does nothing. The
first parameter of a block is never null, unless the block is a part of a statement and has nothing to do there. A
block that begins with UPDATE must find each of its rows, unless its name ends with `_any`.

As one statement, the blocks see the database as it was before the append, so no block may read what another one
writes. Two operations with the same block become one with its block `…_many`, which has the same parameters as arrays.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import asyncpg

from sql import blocks
from sql.connection import Connection

_PARAMETER = re.compile(r"\$(\d+)")
_MANY = "_many"
_NOT_FOUND = "found no row"
# Bytes of the rows of one operation. The last row may exceed them.
MAX_PART_BYTES = 1024**2
# The constraint that refuses a move of a head by software that does not know the newest generation of a view.
EPOCH_CONSTRAINT = "streams_view_epoch"


class HeadMoved(Exception):
    """The first operation, which moves the head of a stream, found it elsewhere."""


class RowMissing(Exception):
    """An operation did not find the row to change: the views differ from the log."""


class OutdatedSoftware(Exception):
    """Newer software has begun or retired a generation of a view (`projections/generations.py`)."""


@dataclass(frozen=True, slots=True)
class RowOperation:
    """A block, named `table.block`, and the values of its parameters."""

    block: str
    values: tuple[Any, ...]


def parts_of(values: Sequence[bytes]) -> list[slice]:
    """Returns the parts of a column of which each is written by an operation of its own. A part ends after
    MAX_PART_BYTES.

    The event loop waits while the values of a statement are encoded.
    """
    parts, start, size = [], 0, 0
    for end, value in enumerate(values, start=1):
        size += len(value)
        if size >= MAX_PART_BYTES or end == len(values):
            parts.append(slice(start, end))
            start, size = end, 0
    return parts


def block_text(block: str) -> str:
    """Returns the text of a block. Raises KeyError if there is none."""
    table, name = block.split(".")
    return blocks(table)[name]


@cache
def parameter_count(block: str) -> int:
    """Returns the number of a block's parameters."""
    return max(int(number) for number in _PARAMETER.findall(block_text(block)))


@cache
def alone(block: str) -> str:
    """Returns the statement that carries out one operation of a block."""
    return f"WITH head AS (SELECT)\n{block_text(block)}"


@cache
def compose(names: tuple[str, ...]) -> str:
    """Returns the statement for one operation of each of these blocks; the first one moves the head.

    It returns the head's new version, or no row if the head is elsewhere. Its parameters are those of the blocks, in
    their order. It fails if an UPDATE finds no row.
    """
    parts, checks, offset = [], [], 0
    for position, block in enumerate(names):
        text = _shift(block_text(block), offset)
        name = "head" if position == 0 else block.replace(".", "_")
        if position > 0 and _must_find(block):
            text += "\nRETURNING true"
            checks.append(_check(block, name, f"${offset + 1}"))
        parts.append(f"{name} AS (\n{text}\n)")
        offset += parameter_count(block)
    select = f"SELECT version, CASE {' '.join(checks)} END FROM head" if checks else "SELECT version FROM head"
    return f"WITH {', '.join(parts)}\n{select}"


def _shift(text: str, offset: int) -> str:
    return _PARAMETER.sub(lambda found: f"${int(found[1]) + offset}", text)


def _check(block: str, name: str, first: str) -> str:
    """Returns a WHEN that makes the statement fail, with a text that says why, if a row was not found.

    The text is not a constant, since Postgres would compute a constant before it looks at the condition.
    """
    expected = f"coalesce(cardinality({first}), 0)" if block.endswith(_MANY) else f"({first} IS NOT NULL)::integer"
    message = f"{block} {_NOT_FOUND} at version "
    return f"WHEN (SELECT count(*) FROM {name}) <> {expected} THEN ('{message}' || version)::integer"


def block_names(operations: Sequence[RowOperation]) -> tuple[str, ...]:
    """Returns the blocks of the operations in order, `…_many` for those that several operations have."""
    counts = Counter(operation.block for operation in operations)
    return tuple(block if count == 1 else block + _MANY for block, count in counts.items())


def merge(operations: Sequence[RowOperation], blocks: Collection[str] = ()) -> dict[str, RowOperation]:
    """Returns the operations by block, those of the same block merged into one of its block `…_many`.

    So is a single operation if its own block is not one of `blocks` and `…_many` is.
    """
    by_block: dict[str, list[RowOperation]] = {}
    for operation in operations:
        by_block.setdefault(operation.block, []).append(operation)
    merged: dict[str, RowOperation] = {}
    for block, same in by_block.items():
        if len(same) == 1 and not (block not in blocks and block + _MANY in blocks):
            merged[block] = same[0]
        else:
            merged[block + _MANY] = RowOperation(block + _MANY, _columns(same))
    return merged


def _columns(operations: Sequence[RowOperation]) -> tuple[Any, ...]:
    """Returns an array for each parameter. Parameters that are arrays themselves become one array of all elements, and
    one more parameter says, for each element, of which operation it is, from 1 on.
    """
    columns: list[Any] = []
    for values in zip(*(operation.values for operation in operations), strict=True):
        if isinstance(values[0], list):
            columns.append([element for value in values for element in value])
            columns.append([number for number, value in enumerate(values, start=1) for _ in value])
        else:
            columns.append(list(values))
    return tuple(columns)


def fill(mix: tuple[str, ...], operations: Mapping[str, RowOperation]) -> list[Any]:
    """Returns the values for the statement of a mix. Those of the blocks without an operation are null."""
    values: list[Any] = []
    for block in mix:
        values += operations[block].values if block in operations else [None] * parameter_count(block)
    return values


async def execute_at_once(db: Connection, mix: tuple[str, ...], operations: Sequence[RowOperation]) -> None:
    """Carries out the operations as the statement of a mix that has all their blocks; the first one moves the head.

    Raises HeadMoved if the head is elsewhere, RowMissing, OutdatedSoftware, and asyncpg's errors; then nothing is
    changed.
    """
    try:
        version = await db.fetchrow(compose(mix), *fill(mix, merge(operations, mix)))
    except asyncpg.InvalidTextRepresentationError as error:
        if _NOT_FOUND in str(error):
            raise RowMissing(str(error)) from error
        raise
    except asyncpg.CheckViolationError as error:
        raise outdated_or(error) from None
    if version is None:
        raise HeadMoved


def outdated_or(error: asyncpg.CheckViolationError) -> Exception:
    """Returns OutdatedSoftware if the error says that, else the error."""
    return OutdatedSoftware(str(error)) if error.constraint_name == EPOCH_CONSTRAINT else error


async def execute_with_head(db: Connection, operations: Sequence[RowOperation], *, at_once: int) -> None:
    """Carries out the first `at_once` operations as one statement, and the others one by one.

    The first operation moves the head. The caller must have opened a transaction. Raises HeadMoved if the head is
    elsewhere, RowMissing, and asyncpg's errors; then the transaction must be rolled back.
    """
    first = operations[:at_once]
    await execute_at_once(db, tuple(operation.block for operation in first), first)
    await execute_in_order(db, operations[at_once:])


async def execute_in_order(db: Connection, operations: Sequence[RowOperation]) -> None:
    """Carries out the operations one by one, each with the rows as the one before left them.

    The caller must have opened a transaction. Raises RowMissing, and asyncpg's errors.
    """
    for operation in operations:
        if await _execute(db, operation) == "UPDATE 0" and _must_find(operation.block):
            raise RowMissing(f"{operation.block} {_NOT_FOUND}")


async def _execute(db: Connection, operation: RowOperation) -> str:
    """Returns the tag of the command, such as "UPDATE 1"."""
    tag: str = await db.execute(alone(operation.block), *operation.values)
    return tag


@cache
def _must_find(block: str) -> bool:
    return block_text(block).startswith("UPDATE") and not block.endswith("_any")
