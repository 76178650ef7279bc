"""Measures how easily a stranger reads this repository: layout, names and prose. Prints one figure a line.

    .venv/bin/python scripts/code_figures.py [FOLDER] [--list participles|types|openers|words|mutual|root]

FOLDER is a checkout, this one by default. `--list` prints the places behind one figure. tests/test_prose.py and
tests/test_layout.py hold the figures within the bounds that CONTRIBUTING.md states. Only the standard library is
needed.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import sys
import tokenize
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

PACKAGES = ("events", "projections", "service", "sql")

# Verb forms that end neither in -ed nor in -ing, as bare names of functions or types.
_IRREGULAR_WORDS = """
    been begun bound bought broken brought built caught chosen come cut done drawn driven eaten fallen fed felt
    found forgotten frozen given gone grown heard held hidden hit kept known laid led left lent let lost made
    meant met paid put quit read ridden rung run said seen sent set shown shut sold spent split spoken spread
    stood stolen struck stuck sung sunk sworn taken taught thought thrown told torn understood woken won worn
    written
"""
IRREGULAR = frozenset(_IRREGULAR_WORDS.split())
# Forms that are also an imperative verb, a noun or a word of the field.
_NOT_PARTICIPLES_WORDS = """
come cut embed feed hit let need put read run seed set shed shut split spread speed bed red led bound quit
string thing ping ring king spring binding building encoding heading listing mapping meaning paging parsing
provisioning queueing reading routing setting settings spelling timing tracing warning logging chunking
indexing reindexing streaming
"""
NOT_PARTICIPLES = frozenset(_NOT_PARTICIPLES_WORDS.split())

BANNED_OPENERS = re.compile(r"^(?:What|Whoever|Whatever|Of|That which|Who)\b")
BANNED_WORDS = re.compile(
    r"\b(?:anew|lest|tells|told|gone|whoever|for ever|besides|brings|brought|heard of|unheard)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a source file, and the name or the text that stands there."""

    path: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


@dataclass(frozen=True, slots=True)
class Prose:
    """A docstring or a comment, with the line where it begins."""

    path: str
    line: int
    text: str
    is_docstring: bool


@dataclass
class SourceFile:
    path: Path
    name: str
    text: str
    tree: ast.Module = field(repr=False)

    @property
    def module(self) -> str:
        return self.name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def package(self) -> str:
        """The folder that holds the module, two levels deep at most: `service.http` for service/http/openapi/x.py."""
        parts = self.name.split("/")[:-1]
        return ".".join(parts[:2])

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node

    def imported_modules(self) -> Iterator[str]:
        """The names that imports of this file could load, the module of a `from` import and its members alike."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module
                yield from (f"{node.module}.{alias.name}" for alias in node.names)

    @cached_property
    def prose(self) -> list[Prose]:
        """Every docstring, and every comment (the lines of one block joined)."""
        return [*self._docstrings(), *self._comments()]

    def _docstrings(self) -> Iterator[Prose]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node)
                if text:
                    yield Prose(self.name, node.body[0].lineno, text, True)

    def _comments(self) -> Iterator[Prose]:
        if "#" not in self.text:
            return
        block: list[str] = []
        first = last = 0
        for token in tokenize.generate_tokens(io.StringIO(self.text).readline):
            if token.type != tokenize.COMMENT or token.string.startswith(("#!", "# type:", "# noqa", "# fmt:")):
                continue
            line = token.start[0]
            if block and line != last + 1:
                yield Prose(self.name, first, " ".join(block), False)
                block = []
            first = first if block else line
            block.append(token.string.lstrip("#").strip())
            last = line
        if block:
            yield Prose(self.name, first, " ".join(block), False)


@dataclass
class Checkout:
    """The Python files of a checkout: those of the packages, or those of `tests`."""

    root: Path

    def files(self, *folders: str) -> list[SourceFile]:
        found = []
        for folder in folders:
            for path in sorted((self.root / folder).rglob("*.py")):
                text = path.read_text()
                found.append(SourceFile(path, path.relative_to(self.root).as_posix(), text, ast.parse(text)))
        return found

    @cached_property
    def product(self) -> list[SourceFile]:
        return self.files(*PACKAGES)

    @cached_property
    def tests(self) -> list[SourceFile]:
        return [file for file in self.files("tests") if "/sdks/programs/" not in file.name]

    # Layout ----------------------------------------------------------------------------------------------------------

    def root_files(self) -> dict[str, set[str]]:
        """The files of service/ itself, each with the packages that import it (`service` is the root itself)."""
        files = [file for file in self.product if re.fullmatch(r"service/\w+\.py", file.name)]
        users: dict[str, set[str]] = {file.name: set() for file in files if not file.name.endswith("__init__.py")}
        by_module = {file.module: file.name for file in files}
        for file in self.product:
            for module in set(file.imported_modules()):
                name = by_module.get(module)
                if name in users and name != file.name:
                    users[name].add(file.package)
        return users

    def package_imports(self) -> dict[str, set[str]]:
        """Which packages each package imports. A module of a top-level folder counts as a package of its own."""
        homes = {file.module: _home(file) for file in self.product}
        imports: dict[str, set[str]] = defaultdict(set)
        for file in self.product:
            for module in file.imported_modules():
                if module in homes and homes[module] != _home(file):
                    imports[_home(file)].add(homes[module])
        return imports

    def mutual_imports(self) -> list[tuple[str, str]]:
        """Pairs of packages that depend on each other, straight or through others."""
        imports = self.package_imports()
        reach = {package: _reachable(package, imports) for package in imports}
        return sorted((a, b) for a in reach for b in reach[a] if a < b and a in reach.get(b, set()))

    # Names -----------------------------------------------------------------------------------------------------------

    def function_count(self) -> int:
        return sum(1 for file in self.product for _ in file.functions())

    def participles(self) -> list[Place]:
        """Functions, modules and classes whose whole name is a participle."""
        found = []
        for file in self.product:
            stem = file.path.stem
            if _is_participle(stem):
                found.append(Place(file.name, 1, stem))
            for node in ast.walk(file.tree):
                if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                    continue
                if _is_participle(node.name):
                    found.append(Place(file.name, node.lineno, node.name))
        return found

    def duplicate_types(self) -> dict[str, list[str]]:
        """Public class names that stand in two modules or more, with those modules."""
        homes: dict[str, list[str]] = defaultdict(list)
        for file in self.product:
            for node in file.tree.body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    homes[node.name].append(file.module)
        return {name: modules for name, modules in sorted(homes.items()) if len(modules) > 1}

    # Prose -----------------------------------------------------------------------------------------------------------

    def docstring_words(self) -> Counter[str]:
        words: Counter[str] = Counter()
        for file in self.product:
            for prose in file.prose:
                if prose.is_docstring:
                    words.update(re.findall(r"[a-z']+", prose.text.lower()))
        return words

    def banned_openers(self) -> list[Place]:
        """Docstrings and comments of product and tests that begin with a banned opener."""
        return self._matching(lambda text: BANNED_OPENERS.search(text) is not None)

    def banned_words(self) -> list[Place]:
        """Docstrings and comments of product and tests that hold a banned word."""
        return self._matching(lambda text: BANNED_WORDS.search(_without_code(text)) is not None)

    def _matching(self, matches: Callable[[str], bool]) -> list[Place]:
        return [
            Place(prose.path, prose.line, prose.text.split("\n")[0][:100])
            for file in [*self.product, *self.tests]
            for prose in file.prose
            if matches(prose.text)
        ]

    def readme_words(self) -> int:
        return len((self.root / "README.md").read_text().split())


def _home(file: SourceFile) -> str:
    """The package of a module; a module that lies in a top-level folder stands for itself."""
    return file.module if file.name.count("/") == 1 else file.package


def _reachable(start: str, imports: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    left = [start]
    while left:
        for package in imports.get(left.pop(), ()):
            if package not in seen:
                seen.add(package)
                left.append(package)
    return seen


def _is_participle(name: str) -> bool:
    word = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.strip("_")).lower()
    if "_" in word or word in NOT_PARTICIPLES:
        return False
    return word in IRREGULAR or (len(word) > 4 and word.endswith(("ed", "ing")))


def _without_code(text: str) -> str:
    return re.sub(r"`[^`]*`|\"[^\"]*\"", "", text)


def per_thousand(words: Counter[str], word: str) -> float:
    return 1000 * words[word] / max(1, words.total())


def report(checkout: Checkout) -> Iterator[str]:
    roots = checkout.root_files()
    words = checkout.docstring_words()
    few = sum(len(users) < 2 for users in roots.values())
    yield f"service/ root: {len(roots)} files, {few} used by fewer than two packages"
    imports = checkout.package_imports()
    yield f"packages: {len(imports)}, imports between them: {sum(map(len, imports.values()))}"
    yield f"packages that depend on each other: {len(checkout.mutual_imports())} pairs"
    yield f"names that are a bare participle: {len(checkout.participles())} ({checkout.function_count()} functions)"
    yield f"public class names in two modules or more: {len(checkout.duplicate_types())}"
    shares = ", ".join(f"{word} {per_thousand(words, word):.1f}" for word in ("if", "where", "what"))
    yield f"docstrings, per 1,000 of {words.total():,} words: {shares}"
    yield f"banned openers: {len(checkout.banned_openers())}, texts with banned words: {len(checkout.banned_words())}"
    yield f"README: {checkout.readme_words()} words"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).resolve().parents[1])
    parser.add_argument("--list", choices=("participles", "types", "openers", "words", "mutual", "root"))
    options = parser.parse_args()
    checkout = Checkout(options.folder)
    lists: dict[str, Callable[[], Iterable[object]]] = {
        "participles": checkout.participles,
        "types": lambda: [f"{name}: {', '.join(modules)}" for name, modules in checkout.duplicate_types().items()],
        "openers": checkout.banned_openers,
        "words": checkout.banned_words,
        "mutual": checkout.mutual_imports,
        "root": lambda: [f"{name}: {', '.join(sorted(users))}" for name, users in checkout.root_files().items()],
    }
    lines: Iterable[object] = lists[options.list]() if options.list else report(checkout)
    sys.stdout.writelines(f"{line}\n" for line in lines)


if __name__ == "__main__":
    main()
