"""The connections of the service: they open the sealed columns of the results of queries.

A named block says which columns of its result are sealed (`-- sealed:`, `sql.sealed_results`), so that readers of rows
get plain values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg

from service.secrets.stream_keys import StreamKeys
from sql import sealed_results
from sql.sealed_columns import SealedResult
from sql.seals import ContentErased, find_sealed, open_rows


class SealedConnection(asyncpg.Connection):
    """A connection with the store of the keys of streams. Set `key_store` after the connection is made.

    If it `is_lenient`, erased values stay sealed, and broken ones are empty (`sql.seals.open_rows`).
    """

    key_store: StreamKeys
    is_lenient: bool = False

    async def fetch(self, query: str, *args: Any, **options: Any) -> Any:
        rows = await super().fetch(query, *args, **options)
        results = sealed_results(query)
        return await self.open(results, rows, args) if results and rows else rows

    async def fetchrow(self, query: str, *args: Any, **options: Any) -> Any:
        row = await super().fetchrow(query, *args, **options)
        results = sealed_results(query)
        return (await self.open(results, [row], args))[0] if results and row is not None else row

    async def fetchval(self, query: str, *args: Any, column: int = 0, timeout: float | None = None) -> Any:
        results = sealed_results(query)
        if not results:
            return await super().fetchval(query, *args, column=column, timeout=timeout)
        row = await self.fetchrow(query, *args, timeout=timeout)
        return None if row is None else row[results[0].columns[0]]

    def cursor(self, query: str, *args: Any, **options: Any) -> Any:
        factory, results = super().cursor(query, *args, **options), sealed_results(query)
        return _CursorFactory(self, factory, results, args) if results else factory

    async def open(
        self, results: Sequence[SealedResult], rows: Sequence[Mapping[str, Any]], args: Sequence[Any]
    ) -> Sequence[Any]:
        """Returns the rows with their sealed columns opened. Raises ContentErased, SealBroken and KeyMissing."""
        for result in results:
            rows = await self._open(result, rows, args)
        return rows

    async def _open(
        self, result: SealedResult, rows: Sequence[Mapping[str, Any]], args: Sequence[Any]
    ) -> Sequence[Any]:
        are_sealed = find_sealed(result, rows)
        if not any(are_sealed):
            return rows
        if result.has_one_owner:
            streams = {result.owner(rows[0], args)}
        else:
            streams = {result.owner(row, args) for row, is_sealed in zip(rows, are_sealed, strict=True) if is_sealed}
        keys = await self.key_store.find(self, streams)
        try:
            return open_rows(result, rows, are_sealed, args, keys, is_lenient=self.is_lenient)
        except ContentErased:
            # Another process may have created the object again, under another key.
            for id in streams:
                self.key_store.forget(id)
            keys = await self.key_store.find(self, streams)
            return open_rows(result, rows, are_sealed, args, keys, is_lenient=self.is_lenient)


class _CursorFactory:
    """Makes a cursor whose rows are opened."""

    def __init__(
        self, db: SealedConnection, factory: Any, results: Sequence[SealedResult], args: Sequence[Any]
    ) -> None:
        self._db = db
        self._factory = factory
        self._results = results
        self._args = args

    def __await__(self) -> Any:
        return self._open().__await__()

    async def _open(self) -> _SealedCursor:
        return _SealedCursor(self._db, await self._factory, self._results, self._args)


class _SealedCursor:
    """A cursor whose rows are opened."""

    def __init__(self, db: SealedConnection, cursor: Any, results: Sequence[SealedResult], args: Sequence[Any]) -> None:
        self._db = db
        self._cursor = cursor
        self._results = results
        self._args = args

    async def fetch(self, count: int) -> Sequence[Any]:
        """Returns the next `count` rows, fewer at the end."""
        return await self._db.open(self._results, await self._cursor.fetch(count), self._args)
