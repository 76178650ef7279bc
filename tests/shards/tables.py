"""The distribution of the tables, as `sql/citus.sql` declares it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pglast

CITUS = Path(__file__).parents[2] / "sql" / "citus.sql"
Kind = Literal["distributed", "reference", "local"]
_KINDS: Mapping[str, Kind] = {
    "create_distributed_table": "distributed",
    "create_reference_table": "reference",
    "citus_add_local_table_to_metadata": "local",
}


@dataclass(frozen=True, slots=True)
class Placement:
    """The place of a table's rows: one shard by the value of `column`, all servers, or the coordinator.

    The other fields are empty unless the table is distributed. `colocated` is the table whose shards are on the same
    servers.
    """

    kind: Kind
    column: str = ""
    colocated: str = ""


def read_placements() -> dict[str, Placement]:
    """Returns the placement of each table that `sql/citus.sql` names."""
    placements: dict[str, Placement] = {}
    for statement in pglast.parse_sql(CITUS.read_text()):
        node: Any = statement.stmt
        if type(node).__name__ == "TransactionStmt":
            continue
        [target] = node.targetList
        name, values, options = _call(target.val)
        table, *columns = values
        assert table not in placements, f"{table} is placed twice"
        colocated = options.get("colocate_with", table if name == "create_distributed_table" else "")
        placements[table] = Placement(_KINDS[name], columns[0] if columns else "", colocated)
    return placements


def _call(call: Any) -> tuple[str, Sequence[str], Mapping[str, str]]:
    """Returns the name of a function, its arguments by position, and those by name."""
    values: list[str] = []
    options: dict[str, str] = {}
    for argument in call.args:
        if type(argument).__name__ == "NamedArgExpr":
            options[argument.name] = argument.arg.val.sval
        else:
            values.append(argument.val.sval)
    return call.funcname[-1].sval, values, options
