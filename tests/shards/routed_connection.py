"""A connection to several Postgres servers: streams are on the server that the hash of their id names.

It sends a statement to the server of its shard key. A statement that reads several shards runs on the coordinator, the
first server, after the rows of its distributed tables were copied there into temporary tables of the same names. One
that changes several shards runs on each of them. Tables with a copy on each server are changed on all of them.

The rows of the coordinator's own tables have a connection of their own, which has the temporary tables.
"""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, cast
from zlib import crc32

import asyncpg

import service.database
from service.database.sealed_connection import SealedConnection
from service.secrets.stream_keys import StreamKeys
from sql import sealed_results
from sql.connection import Connection
from tests.shards.catalog import Catalog, read_catalog
from tests.shards.statements import Occurrence, Statement, read_statement
from tests.shards.tables import Placement, read_placements

_PLACEMENTS: Mapping[str, Placement] = read_placements()
_DISTRIBUTED = [name for name, placed in _PLACEMENTS.items() if placed.kind == "distributed"]
_SETTINGS = {"set_config"}
_OF_ALL = {"VariableSetStmt", "CreateStmt", "IndexStmt"}
# The verification makes views, to compare them with those of the schema.
_OF_SCHEMA = {"ViewStmt", "DropStmt"}
_VIEWS = "SELECT viewname, definition FROM pg_views WHERE schemaname = 'public'"
_PARTITION = re.compile(r"search\.(vectors_\d+)")
_open_one = service.database._open_connection
# The servers by the URL of the first one, and what was read of their catalogs and of statements.
_clusters: dict[str, Sequence[str]] = {}
_catalogs: list[Catalog] = []
_statements: dict[str, Statement] = {}


def route_connections(urls: Sequence[str]) -> None:
    """Makes connections to the first of these URLs connections to all of them, in this process."""
    _clusters[urls[0]] = urls
    service.database._open_connection = cast(Any, _open_connection)


def server_of(key: str | bytes, servers: int) -> int:
    """Returns the number of the server that has a shard key."""
    return crc32(key.encode() if isinstance(key, str) else key) % servers


async def _open_connection(
    url: str, keys: StreamKeys, command_timeout_s: float | None = None, *, is_lenient: bool = False
) -> Any:
    urls = _clusters.get(url)
    if urls is None:
        return await _open_one(url, keys, command_timeout_s, is_lenient=is_lenient)
    timeout_s = service.database.COMMAND_TIMEOUT if command_timeout_s is None else command_timeout_s
    connect = partial(asyncpg.connect, command_timeout=timeout_s, server_settings={"application_name": "everthread"})
    shards = [await connect(each) for each in urls]
    coordinator = await connect(url)
    views = await coordinator.fetch(_VIEWS)
    made = [f"CREATE TEMP TABLE {name} (LIKE public.{name})" for name in _DISTRIBUTED]
    made += [f"CREATE TEMP VIEW {name} AS {definition.rstrip(';')}" for name, definition in views]
    await coordinator.execute("; ".join(made))
    if not _catalogs:
        _catalogs.append(await read_catalog(shards[0]))
    return RoutedConnection(shards, coordinator, keys, is_lenient=is_lenient)


class CrossingTransaction(AssertionError):
    """A transaction has appended to streams on two servers."""


class RoutedConnection:
    """Does what `service.database` and its callers need of a connection of asyncpg."""

    def __init__(
        self, shards: Sequence[Connection], coordinator: Connection, keys: StreamKeys, *, is_lenient: bool
    ) -> None:
        self.key_store = keys
        self.is_lenient = is_lenient
        self._shards = shards
        self._coordinator = coordinator
        self._levels: list[Mapping[str, Any]] = []
        self._begun: dict[Connection, list[Any]] = {each: [] for each in self._all}
        self._appended: set[Connection] = set()

    @property
    def _all(self) -> list[Connection]:
        return [*self._shards, self._coordinator]

    # -- statements

    async def fetch(self, query: str, *args: Any, timeout: float | None = None) -> Any:
        rows: Any = [row for part in await self._send("fetch", query, args, timeout) for row in part]
        for result in sealed_results(query) if rows else ():
            rows = await SealedConnection._open(cast(Any, self), result, rows, args)
        return rows

    async def fetchrow(self, query: str, *args: Any, timeout: float | None = None) -> Any:
        rows = await self.fetch(query, *args, timeout=timeout)
        return rows[0] if rows else None

    async def fetchval(self, query: str, *args: Any, column: int = 0, timeout: float | None = None) -> Any:
        row = await self.fetchrow(query, *args, timeout=timeout)
        if row is not None and (results := sealed_results(query)):
            return row[results[0].columns[0]]
        return None if row is None else tuple(row.values())[column]

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        tags = [str(tag) for tag in await self._send("execute", query, args, timeout)]
        *words, count = tags[0].split()
        if len(tags) == 1 or not count.isdigit() or self._is_of_all(_read(query)):
            return tags[0]
        return " ".join((*words, str(sum(int(tag.split()[-1]) for tag in tags))))

    def cursor(self, query: str, *args: Any, **_: Any) -> Any:
        return _Pages(self, query, args)

    async def copy_records_to_table(self, table: str, *, records: Sequence[Any], columns: Sequence[str]) -> None:
        placed = _PLACEMENTS[table]
        if placed.kind == "local":
            return await self._copy(self._coordinator, table, records, columns)
        if placed.kind == "reference":
            async with self.transaction():
                for shard in self._shards:
                    await self._copy(shard, table, records, columns)
            return None
        place = list(columns).index(placed.column)
        for number, shard in enumerate(self._shards):
            own = [record for record in records if server_of(record[place], len(self._shards)) == number]
            if own:
                await self._copy(shard, table, own, columns)
        return None

    async def _copy(self, connection: Connection, table: str, records: Sequence[Any], columns: Sequence[str]) -> None:
        await self._begin(connection)
        await connection.copy_records_to_table(table, records=records, columns=list(columns))

    async def _send(self, method: str, query: str, args: Sequence[Any], timeout: float | None) -> list[Any]:
        """Sends the statement where it belongs, and returns the answer of each server."""
        statement = _read(query)
        if self._is_of_all(statement):
            if "reference" in self._written(statement) and not self._levels:
                async with self.transaction():
                    return await self._send_to(self._shards, method, query, args, timeout)
            targets = self._shards if "reference" in self._written(statement) else self._all
            return (await self._send_to(targets, method, query, args, timeout))[:1]
        distributed = [] if statement.kinds & _OF_SCHEMA else statement.of_kind("distributed", _PLACEMENTS)
        has_local = bool(statement.of_kind("local", _PLACEMENTS))
        if not distributed:
            return await self._send_to(
                [self._coordinator if has_local else self._shards[0]], method, query, args, timeout
            )
        servers = self._servers(distributed, args)
        if "distributed" in self._written(statement):
            return await self._change(statement, servers, method, query, args, timeout)
        if len(servers) <= 1 and not has_local:
            return await self._send_to([self._shards[min(servers, default=0)]], method, query, args, timeout)
        assert " FOR UPDATE" not in query or has_local, query
        await self._gather(distributed, query, args)
        return await self._send_to([self._coordinator], method, _PARTITION.sub("vectors", query), args, timeout)

    async def _change(
        self, statement: Statement, servers: Collection[int], method: str, query: str, args: Sequence[Any], timeout: Any
    ) -> list[Any]:
        """Changes rows on their servers. Each gets its part of the arrays of an INSERT."""
        answers: list[Any] = []
        is_split = len(servers) > 1 and query.lstrip().startswith(("INSERT", "WITH added AS (\n    INSERT"))
        for number in sorted(servers) or [0]:
            own = self._part(statement, number, args) if is_split else args
            answers += await self._send_to([self._shards[number]], method, query, own, timeout)
            if self._levels and "events" in statement.writes:
                self._appended.add(self._shards[number])
        for channel, payload in statement.notifications:
            if set(servers) != {0}:
                await self._shards[0].execute("SELECT pg_notify($1, $2)", args[channel - 1], args[payload - 1])
        return answers

    def _part(self, statement: Statement, number: int, args: Sequence[Any]) -> list[Any]:
        """Returns the values with those elements of arrays that belong to the server."""
        own = list(args)
        [key] = {key[1] for one in statement.occurrences for key in one.keys if key[0] == "element"}
        places = [place for place, value in enumerate(args[key - 1]) if server_of(value, len(self._shards)) == number]
        for array in statement.arrays:
            if key in array:
                for parameter in array:
                    own[parameter - 1] = [args[parameter - 1][place] for place in places]
        return own

    async def _send_to(
        self, targets: Sequence[Connection], method: str, query: str, args: Sequence[Any], timeout: Any
    ) -> list[Any]:
        answers = []
        for target in targets:
            await self._begin(target)
            answers.append(await getattr(target, method)(query, *args, timeout=timeout))
        return answers

    async def _gather(self, distributed: Sequence[Occurrence], query: str, args: Sequence[Any]) -> None:
        """Copies rows of the tables into the coordinator's temporary tables, from the servers that may have them."""
        await self._begin(self._coordinator)
        for table in sorted({one.table for one in distributed}):
            await self._coordinator.execute(f"DELETE FROM pg_temp.{table}")
            found = [one for one in distributed if one.table == table]
            servers = {server for one in found for server in self._servers([one], args)}
            condition = _condition(found, args)
            partition = _PARTITION.search(query)
            source = f"search.{partition[1]}" if table == "vectors" and partition else f"public.{table}"
            for number in servers:
                await self._begin(self._shards[number])
                data = io.BytesIO()
                rows = f"SELECT * FROM {source} WHERE {condition}"
                await self._shards[number].copy_from_query(rows, output=data, format="binary")
                data.seek(0)
                await self._coordinator.copy_to_table(table, schema_name=None, source=data, format="binary")

    def _servers(self, distributed: Sequence[Occurrence], args: Sequence[Any]) -> set[int]:
        """Returns the servers that may have rows of these occurrences."""
        count, found = len(self._shards), set[int]()
        for one in distributed:
            own = set(range(count))
            for key in one.keys:
                own &= {server_of(value, count) for value in _values(key, args)}
            found |= own
        return found

    def _written(self, statement: Statement) -> set[str]:
        return {_PLACEMENTS[table].kind for table in statement.writes}

    def _is_of_all(self, statement: Statement) -> bool:
        """Whether the statement runs on all servers: it changes settings, the schema, or tables with copies."""
        if statement.writes or statement.occurrences:
            return "reference" in self._written(statement)
        return bool(statement.functions & _SETTINGS or statement.kinds & _OF_ALL)

    # -- transactions

    def transaction(self, **options: Any) -> Any:
        return _Transaction(self, options)

    def is_in_transaction(self) -> bool:
        return bool(self._levels)

    async def _begin(self, connection: Connection) -> None:
        """Begins the transactions that are open, on a connection that is used for the first time in them."""
        begun = self._begun[connection]
        for options in self._levels[len(begun) :]:
            own = {name: value for name, value in options.items() if name != "readonly" or connection in self._shards}
            transaction = connection.transaction(**own)
            await transaction.start()
            begun.append(transaction)

    async def _end(self, *, commits: bool) -> None:
        """Ends the innermost transaction: first on the servers without appended events, last on the coordinator."""
        depth = len(self._levels)
        self._levels.pop()
        appended = self._appended if depth == 1 else set[Connection]()
        if depth == 1:
            self._appended = set()
        in_order = sorted(self._all, key=lambda each: (each is self._coordinator, each in appended))
        commits = commits and len(appended) <= 1
        try:
            for connection in in_order:
                if len(self._begun[connection]) == depth:
                    transaction = self._begun[connection].pop()
                    await (transaction.commit() if commits else transaction.rollback())
        finally:
            for connection in in_order:
                if len(self._begun[connection]) == depth:
                    transaction = self._begun[connection].pop()
                    with suppress(Exception):
                        await transaction.rollback()
        if len(appended) > 1:
            raise CrossingTransaction

    # -- the rest

    async def add_listener(self, channel: str, callback: Any) -> None:
        await self._shards[0].add_listener(channel, callback)

    def add_termination_listener(self, callback: Any) -> None:
        self._shards[0].add_termination_listener(callback)

    def get_server_pid(self) -> int:
        return self._shards[0].get_server_pid()

    def is_closed(self) -> bool:
        return any(each.is_closed() for each in self._all)

    async def reset(self, *, timeout: float | None = None) -> None:
        self._levels, self._appended = [], set()
        self._begun = {each: [] for each in self._all}
        for each in self._all:
            await each.reset(timeout=timeout)

    async def close(self, *, timeout: float | None = None) -> None:
        for each in self._all:
            await each.close(timeout=timeout)

    def terminate(self) -> None:
        for each in self._all:
            each.terminate()


class _Transaction:
    """A transaction on the servers that are used in it."""

    def __init__(self, db: RoutedConnection, options: Mapping[str, Any]) -> None:
        self._db = db
        self._options = options

    async def start(self) -> None:
        self._db._levels.append(self._options)

    async def commit(self) -> None:
        await self._db._end(commits=True)

    async def rollback(self) -> None:
        await self._db._end(commits=False)

    async def __aenter__(self) -> None:
        await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._db._levels:  # else the connection was reset
            await self._db._end(commits=error is None)


class _Pages:
    """A cursor: all rows are read at once."""

    def __init__(self, db: RoutedConnection, query: str, args: Sequence[Any]) -> None:
        self._db = db
        self._query = query
        self._args = args
        self._rows: Sequence[Any] = ()

    def __await__(self) -> Generator[Any, None, _Pages]:
        return self._open().__await__()

    async def _open(self) -> _Pages:
        self._rows = await self._db.fetch(self._query, *self._args)
        return self

    async def fetch(self, count: int) -> Sequence[Any]:
        page, self._rows = self._rows[:count], self._rows[count:]
        return page


def _read(query: str) -> Statement:
    if query not in _statements:
        _statements[query] = read_statement(query, _catalogs[0], _PLACEMENTS)
    return _statements[query]


def _values(key: Any, args: Sequence[Any]) -> list[Any]:
    """Returns the values of a key: of a parameter, of the elements of one, or a constant."""
    kind, number, _ = key
    if kind == "constant":
        return [number]
    value = args[number - 1]
    return [each for each in (value if kind == "element" else [value]) or [] if each is not None]


def _condition(found: Sequence[Occurrence], args: Sequence[Any]) -> str:
    """Returns a condition that holds for all rows that the occurrences of a table may need."""
    values: set[Any] = set()
    for one in found:
        if not one.keys:
            return "true"
        values |= set(_values(min(one.keys, key=str), args))
    if not all(isinstance(value, str) for value in values):
        return "true"
    literals = ", ".join("'" + value.replace("'", "''") + "'" for value in values)
    return f"{_PLACEMENTS[found[0].table].column} IN ({literals})" if literals else "false"
