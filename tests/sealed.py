"""Statements of tests over tables with encrypted columns."""

from __future__ import annotations

import sql
from sql.sealed_columns import SEALED_TABLES


def opened(query: str, table: str) -> str:
    """Returns the query, whose result a connection opens. It must return the key of the table's rows."""
    layout = SEALED_TABLES.get(table)
    if layout is None:
        return query
    columns = [column for column in layout.columns if "*" in query or column in query]
    return sql.declare_sealed(query, f"-- sealed: {table}({', '.join(layout.key)}): {', '.join(columns)}")
