"""Calls show what they pass: long lists of arguments have keywords, and no local tuple is spread over parameters."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("events", "projections", "service")
MAX_POSITIONAL = 4
# Functions of libraries that take any number of arguments of one kind, and the twin of an operation on rows, which
# takes the values that the operation has.
VARIADIC = {
    "Progress", "Table", "add_row", "chain", "create_subprocess_exec", "gather", "ignore_patterns", "suppress",
    "to_thread", "twin",
}  # fmt: skip


def faults(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yields the line and the fault of each wrong call. A call of a name with a capital letter makes an object.

    A function may pass its own variadic arguments on.
    """
    passed_on = {node.vararg.arg for node in ast.walk(tree) if isinstance(node, ast.arguments) and node.vararg}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        match node.func:
            case ast.Attribute(attr=name) | ast.Name(id=name):
                pass
            case _:
                continue
        is_constructor = name.lstrip("_")[:1].isupper() and "_" not in name.lstrip("_")  # C functions have such names
        if is_constructor and len(node.args) > MAX_POSITIONAL:
            yield node.lineno, f"{name} gets {len(node.args)} arguments without keywords"
        if name not in VARIADIC and any(
            isinstance(argument, ast.Starred)
            and not isinstance(argument.value, ast.GeneratorExp)
            and ast.unparse(argument.value) not in passed_on
            for argument in node.args
        ):
            yield node.lineno, f"{name} gets a tuple that hides its arguments"


@pytest.mark.parametrize("folder", FOLDERS)
def test_calls_show_their_arguments(folder: str) -> None:
    assert not [
        f"{path.relative_to(ROOT)}:{line}: {fault}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line, fault in faults(ast.parse(path.read_text()))
    ]


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("Run(1, 2, 3, 4)", 0),
        ("Run(1, 2, 3, 4, 5)", 1),
        ("Run(*parts)", 1),
        ("events.Run(1, 2, 3, 4, five=5)", 0),
        ("db.fetch(query, *args)", 1),
        ("asyncio.gather(*tasks)", 0),
        ("lambda *args: db.fetch(query, *args)", 0),
        ("digest(*(part.encode() for part in parts))", 0),
    ],
)
def test_faults_are_found(source: str, count: int) -> None:
    assert len(list(faults(ast.parse(source)))) == count
