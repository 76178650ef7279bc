"""The shard keys of statements, found by PostgreSQL's own parser (`pglast`).

A table stands in a statement once or several times. Each time, its distribution column may equal a parameter, an
element of a parameter that is an array, or a constant: by comparisons with AND between them, by joins and by the
columns of subqueries. Conditions under OR and NOT do not count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pglast
from pglast.enums import A_Expr_Kind, BoolExprType, SubLinkType

from tests.shards.catalog import Catalog
from tests.shards.tables import Placement

# A value that is compared: a column of a table's occurrence, a parameter, an element of a parameter, or a constant.
Term = tuple[str, Any, str]
Columns = list[tuple[str, Term | None]]


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A table in a statement, and the terms that its distribution column and its `project_id` equal.

    The distribution columns of occurrences with the same `group` are equal.
    """

    table: str
    group: Term
    keys: frozenset[Term]
    projects: frozenset[Term]


@dataclass(frozen=True, slots=True)
class Statement:
    """The tables that a statement names, those that it writes, the columns and the functions that it uses.

    `notifications` are the parameters of channel and payload of each notification. `arrays` are the parameters of each
    `unnest`, whose elements belong together. `kinds` are the types of its parts by the parser.
    """

    occurrences: Sequence[Occurrence]
    writes: frozenset[str]
    columns: frozenset[str]
    functions: frozenset[str]
    notifications: Sequence[tuple[int, int]]
    arrays: Sequence[Sequence[int]]
    kinds: frozenset[str]

    def of_kind(self, kind: str, placements: Mapping[str, Placement]) -> list[Occurrence]:
        """Returns the occurrences of tables that are placed so."""
        return [one for one in self.occurrences if placements[one.table].kind == kind]


@dataclass(slots=True)
class _Entry:
    """An item of FROM: its alias and its columns."""

    alias: str
    columns: Columns

    def find(self, name: str) -> Term | None:
        return next((term for column, term in self.columns if column == name), None)

    def has(self, name: str) -> bool:
        return any(column == name for column, _ in self.columns)


@dataclass(slots=True)
class _Scope:
    """The items that an expression may refer to, and the subqueries of WITH."""

    ctes: dict[str, Columns]
    parent: _Scope | None = None
    entries: list[_Entry] = field(default_factory=list)

    def child(self) -> _Scope:
        return _Scope(dict(self.ctes), self)

    def resolve(self, fields: Sequence[str]) -> Term | None:
        scope: _Scope | None = self
        while scope is not None:
            for entry in reversed(scope.entries):
                if len(fields) == 2 and entry.alias == fields[0]:
                    return entry.find(fields[1])
                if len(fields) == 1 and entry.has(fields[0]):
                    return entry.find(fields[0])
            scope = scope.parent
        return None


class _Reader:
    """Reads one statement."""

    def __init__(self, catalog: Catalog, placements: Mapping[str, Placement]) -> None:
        self._tables = catalog.tables
        self._views = catalog.views
        self._placements = placements
        self._parents: dict[Term, Term] = {}
        self._numbers = 0
        self.occurrences: list[tuple[str, int]] = []
        self.writes: set[str] = set()
        self.columns: set[str] = set()
        self.functions: set[str] = set()
        self.notifications: list[tuple[int, int]] = []
        self.arrays: list[list[int]] = []
        self._read_already = set[int]()

    def occurrence(self, table: str, number: int) -> Occurrence:
        key: Term = ("column", number, self._placements[table].column)
        return Occurrence(table, self._root(key), self._values(key), self._values(("column", number, "project_id")))

    def _values(self, term: Term) -> frozenset[Term]:
        root = self._root(term)
        same = (each for each in self._parents if each[0] != "column" and self._root(each) == root)
        return frozenset(same)

    def _root(self, term: Term) -> Term:
        while (parent := self._parents.setdefault(term, term)) != term:
            term = parent
        return term

    def _equate(self, one: Term | None, other: Term | None) -> None:
        if one is not None and other is not None:
            self._parents[self._root(one)] = self._root(other)

    # -- statements

    def read(self, node: Any, scope: _Scope) -> Columns:
        """Reads a statement or subquery, and returns the columns of its result."""
        inner = scope.child()
        if getattr(node, "withClause", None) is not None:
            for cte in node.withClause.ctes:
                names = [each.sval for each in cte.aliascolnames or ()]
                if node.withClause.recursive:
                    first = getattr(cte.ctequery, "larg", None) or cte.ctequery
                    known = names or [target.name for target in first.targetList or ()]
                    inner.ctes[cte.ctename] = [(name, None) for name in known]
                columns = self.read(cte.ctequery, inner)
                inner.ctes[cte.ctename] = _rename(columns, names)
        match _kind(node):
            case "SelectStmt":
                return self._select(node, inner)
            case "InsertStmt":
                return self._insert(node, inner)
            case "UpdateStmt" | "DeleteStmt":
                return self._change(node, inner)
            case _:
                self._walk(node, inner)
                return []

    def _select(self, node: Any, scope: _Scope) -> Columns:
        if node.larg is not None:
            left, right = self.read(node.larg, scope), self.read(node.rarg, scope)
            names = [name for name, _ in left]
            self._walk((node.sortClause, node.limitCount), scope)
            return [
                (name, one if one == other else None)
                for name, (_, one), (_, other) in zip(names, left, right, strict=True)
            ]
        if node.valuesLists:
            [row, *_] = node.valuesLists
            self._walk(node.valuesLists, scope)
            return [("", self._term(value, scope)) for value in row]
        for item in node.fromClause or ():
            self._from(item, scope)
        self._conditions(node.whereClause, scope)
        rest = (node.targetList, node.groupClause, node.havingClause, node.sortClause, node.limitCount)
        self._walk((node.whereClause, *rest), scope)
        return self._outputs(node.targetList, scope)

    def _insert(self, node: Any, scope: _Scope) -> Columns:
        entry = self._table(node.relation, scope)
        self.writes.add(node.relation.relname)
        values = self.read(node.selectStmt, scope) if node.selectStmt is not None else []
        names = [target.name for target in node.cols] if node.cols else [name for name, _ in entry.columns]
        for name, (_, term) in zip(names, values, strict=False):
            self._equate(entry.find(name), term)
        inner = scope.child()
        inner.entries.append(entry)
        self._walk((node.onConflictClause, _returned(node)), inner)
        return self._outputs(_returned(node), inner)

    def _change(self, node: Any, scope: _Scope) -> Columns:
        entry = self._table(node.relation, scope)
        self.writes.add(node.relation.relname)
        scope.entries.append(entry)
        items = node.fromClause if _kind(node) == "UpdateStmt" else node.usingClause
        for item in items or ():
            self._from(item, scope)
        self._conditions(node.whereClause, scope)
        targets = node.targetList if _kind(node) == "UpdateStmt" else ()
        self._walk((node.whereClause, targets, _returned(node)), scope)
        return self._outputs(_returned(node), scope)

    # -- FROM

    def _from(self, item: Any, scope: _Scope) -> list[_Entry]:
        """Adds the entries of an item of FROM to the scope, and returns them."""
        match _kind(item):
            case "RangeVar":
                added = [self._table(item, scope)]
            case "RangeSubselect":
                columns = self.read(item.subquery, scope)
                added = [_Entry(item.alias.aliasname, _rename(columns, _names(item.alias)))]
            case "RangeFunction":
                added = [self._function(item, scope)]
            case "JoinExpr":
                return self._join(item, scope)
            case _:
                raise NotImplementedError(type(item).__name__)
        scope.entries += added
        return added

    def _join(self, item: Any, scope: _Scope) -> list[_Entry]:
        left, right = self._from(item.larg, scope), self._from(item.rarg, scope)
        for name in item.usingClause or ():
            one = next((entry for entry in left if entry.has(name.sval)), None)
            other = next((entry for entry in right if entry.has(name.sval)), None)
            if one is not None and other is not None:  # else one is a catalog of PostgreSQL
                self._equate(one.find(name.sval), other.find(name.sval))
        self._conditions(item.quals, scope)
        self._walk(item.quals, scope)
        return [*left, *right]

    def _table(self, item: Any, scope: _Scope) -> _Entry:
        name = item.relname
        alias = item.alias.aliasname if item.alias is not None else name
        if name in scope.ctes:
            return _Entry(alias, _rename(scope.ctes[name], _names(item.alias)))
        if name in self._views:
            return _Entry(alias, self.read(self._views[name], _Scope({})))
        if item.schemaname == "search":
            name = "vectors"  # a partition, of one embedding model
        if name not in self._tables:  # a catalog of PostgreSQL
            return _Entry(alias, [])
        self._numbers += 1
        self.occurrences.append((name, self._numbers))
        return _Entry(alias, [(column, ("column", self._numbers, column)) for column in self._tables[name]])

    def _function(self, item: Any, scope: _Scope) -> _Entry:
        [(call, _)] = item.functions
        self._walk(call, scope)
        names = _names(item.alias)
        terms: list[Term | None] = []
        if _kind(call) == "FuncCall" and call.funcname[-1].sval == "unnest":
            terms = [_element(self._term(argument, scope)) for argument in call.args]
            self.arrays.append([term[1] for term in terms if term is not None])
        alias = item.alias.aliasname if item.alias is not None else ""
        if not names:
            names = [alias] if len(terms) <= 1 else [f"{alias}{place}" for place in range(len(terms))]
        terms += [None] * (len(names) - len(terms))
        return _Entry(alias, list(zip(names, terms, strict=True)))

    # -- expressions

    def _outputs(self, targets: Any, scope: _Scope) -> Columns:
        columns: Columns = []
        for target in targets or ():
            value = target.val
            if _kind(value) == "ColumnRef" and _kind(value.fields[-1]) == "A_Star":
                alias = value.fields[0].sval if len(value.fields) == 2 else None
                for entry in scope.entries:
                    columns += entry.columns if alias in (None, entry.alias) else []
                continue
            name = target.name or (value.fields[-1].sval if _kind(value) == "ColumnRef" else "")
            columns.append((name, self._term(value, scope)))
        return columns

    def _term(self, node: Any, scope: _Scope) -> Term | None:
        match _kind(node):
            case "TypeCast":
                return self._term(node.arg, scope)
            case "ParamRef":
                return ("parameter", node.number, "")
            case "A_Const":
                return ("constant", node.val.sval, "") if _kind(node.val) == "String" else None
            case "ColumnRef":
                names = [each.sval for each in node.fields if _kind(each) == "String"]
                return scope.resolve(names) if len(names) == len(node.fields) else None
            case _:
                return None

    def _conditions(self, node: Any, scope: _Scope) -> None:
        """Equates the terms of the comparisons that must all hold."""
        match _kind(node):
            case "BoolExpr" if node.boolop == BoolExprType.AND_EXPR:
                for part in node.args:
                    self._conditions(part, scope)
            case "A_Expr" if node.name[-1].sval == "=" and node.kind == A_Expr_Kind.AEXPR_OP:
                for one, other in zip(_parts(node.lexpr), _parts(node.rexpr), strict=False):
                    self._equate(self._term(one, scope), self._term(other, scope))
            case "A_Expr" if node.name[-1].sval == "=" and node.kind == A_Expr_Kind.AEXPR_OP_ANY:
                self._equate(self._term(node.lexpr, scope), _element(self._term(node.rexpr, scope)))
            case "SubLink" if node.subLinkType == SubLinkType.ANY_SUBLINK and node.testexpr is not None:
                outputs = self.read(node.subselect, scope)
                for one, (_, other) in zip(_parts(node.testexpr), outputs, strict=True):
                    self._equate(self._term(one, scope), other)
                self._read_already.add(id(node))
            case _:
                pass

    def _walk(self, node: Any, scope: _Scope) -> None:
        """Reads the subqueries in an expression, and notes its columns and functions."""
        if isinstance(node, (tuple, list)):
            for each in node:
                self._walk(each, scope)
        elif _kind(node) == "SubLink":
            self._walk(node.testexpr, scope)
            if id(node) not in self._read_already:
                self.read(node.subselect, scope)
        elif isinstance(node, pglast.ast.Node):
            self._note(node)
            for name in node:
                self._walk(getattr(node, name, None), scope)

    def _note(self, node: Any) -> None:
        if _kind(node) == "ColumnRef" and _kind(node.fields[-1]) == "String":
            self.columns.add(node.fields[-1].sval)
        if _kind(node) == "FuncCall":
            name = node.funcname[-1].sval
            self.functions.add(name)
            if name == "pg_notify":
                channel, payload = (argument.number for argument in node.args)
                self.notifications.append((channel, payload))


def read_statement(text: str, catalog: Catalog, placements: Mapping[str, Placement]) -> Statement:
    """Returns what the statement does."""
    reader = _Reader(catalog, placements)
    parts = [parsed.stmt for parsed in pglast.parse_sql(text)]
    for part in parts:
        reader.read(part, _Scope({}))
    return Statement(
        occurrences=[reader.occurrence(table, number) for table, number in reader.occurrences],
        writes=frozenset(reader.writes),
        columns=frozenset(reader.columns),
        functions=frozenset(reader.functions),
        notifications=reader.notifications,
        arrays=reader.arrays,
        kinds=frozenset(_kind(part) for part in parts),
    )


def _element(term: Term | None) -> Term | None:
    """Returns an element of a parameter that is an array."""
    return ("element", term[1], "") if term is not None and term[0] == "parameter" else None


def _names(alias: Any) -> list[str]:
    return [each.sval for each in alias.colnames or ()] if alias is not None else []


def _rename(columns: Columns, names: Sequence[str]) -> Columns:
    if not names:
        return columns
    return [(name, columns[place][1] if place < len(columns) else None) for place, name in enumerate(names)]


def _parts(node: Any) -> Iterator[Any]:
    """Yields the values of a row, or the value."""
    if _kind(node) == "RowExpr":
        yield from node.args
    else:
        yield node


def _returned(node: Any) -> Any:
    """Returns the expressions of RETURNING."""
    return node.returningClause.exprs if node.returningClause is not None else ()


def _kind(node: Any) -> str:
    """Returns the name of the node's type."""
    return type(node).__name__
