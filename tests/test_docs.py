"""The documents agree with the code: citations, links, paths, names, settings, commands, and generated pages."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer.main
from pydantic.fields import FieldInfo
from typer.core import TyperGroup

from service.cli.main import app
from service.embedded.postgres_roles import OWNER_ROLE
from service.model.catalog import Endpoint, load_catalog
from service.settings import PREFIX, Settings

ROOT = Path(__file__).resolve().parents[1]

MAX_PICTURES, MAX_PICTURE_BYTES = 8, 200_000

HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE_SPAN = re.compile(r"`([^`\n]+)`")
# A document that code cites, with the sections that follow it in quotes.
CITATION = re.compile(r'(?<![\w/.-])(docs/[\w-]+\.md|[A-Z]{4,}\.md)((?:(?:,| and) "[^"]+")*)')
# A path of this repository in a code span: service/wire/sse/, scripts/serve, tests/test_docs.py.
PATH = re.compile(r"(?:service|events|projections|sql|tests|scripts|docs|\.ci)/[\w./-]*")
FILE_IN_CODE = re.compile(
    r"(?<![\w/.-])(?:service|events|projections|tests|scripts|sql)/[\w/.-]*\w{2,}\.(?:py|sql|toml|sh)\b"
)
MODULE = re.compile(r"(?:service|events|projections)(?:\.[a-z_0-9]+)+")
# Variables with our prefix that scripts read and the server does not.
VARIABLES_OF_SCRIPTS = frozenset({"EVERTHREAD_PYTHON"})


def tracked(*patterns: str) -> list[Path]:
    """Returns the files of the repository that match, tracked or new."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout.split("\n")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


DOCUMENTS = tracked("*.md")
SOURCES = tracked("*.py", "*.sql", "*.toml", ".ci/*", "scripts/*")


def ids(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def prose(document: Path) -> str:
    """Returns the text of a document without its fenced code."""
    return FENCE.sub("", document.read_text())


@cache
def headings(document: Path) -> tuple[str, ...]:
    return tuple(HEADING.findall(prose(document)))


def anchor(heading: str) -> str:
    """Returns the anchor that GitHub gives to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def code_spans(document: Path) -> Iterator[str]:
    """Yields the code spans of a document."""
    yield from CODE_SPAN.findall(prose(document))


def generator() -> ModuleType:
    """Returns scripts/generate_docs.py as a module."""
    spec = importlib.util.spec_from_file_location("generate_docs", ROOT / "scripts" / "generate_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids(DOCUMENTS))
def test_links_and_anchors_exist(document: Path) -> None:
    for target in LINK.findall(prose(document)):
        if "://" in target:
            continue
        name, _, section = target.partition("#")
        file = (document.parent / name).resolve() if name else document
        assert file.exists(), f"{document.name} links to {target}, which does not exist"
        if section and file.suffix == ".md":
            assert section in map(anchor, headings(file)), f"{document.name} links to {target}: no such heading"


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids(DOCUMENTS))
def test_paths_and_modules_exist(document: Path) -> None:
    for span in code_spans(document):
        for path in PATH.findall(span) if PATH.fullmatch(span.split(":")[0].split(" ")[0]) else ():
            assert (ROOT / path.rstrip(".")).exists(), f"{document.name} names {path}, which does not exist"
        if MODULE.fullmatch(span):
            found = [span.replace(".", "/") + suffix for suffix in (".py", "/__init__.py")]
            assert any((ROOT / path).exists() for path in found), f"{document.name} names the module {span}"


def test_cited_sections_exist() -> None:
    """Code cites a document by its path, then sections in quotes; a citation may run over a line's end."""
    wrong = []
    for source in SOURCES:
        text = re.sub(r"\n[ \t]*(?:#|--)?[ \t]*", " ", source.read_text())
        for name, sections in CITATION.findall(text):
            document = ROOT / name
            if not document.exists():
                wrong.append(f"{source.relative_to(ROOT)} cites {name}, which does not exist")
                continue
            for section in re.findall(r'"([^"]+)"', sections):
                if section not in headings(document):
                    wrong.append(f"{source.relative_to(ROOT)} cites {name}, {section!r}: no such heading")
    assert not wrong, "\n".join(wrong)


def test_files_that_code_names_exist() -> None:
    """Code names files by their path in the repository, or in tests/."""
    sources = [source for source in SOURCES if "legacy" not in source.parts]  # migrations that landed never change
    named = {(name, source) for source in sources for name in FILE_IN_CODE.findall(source.read_text())}
    missing = [pair for pair in named if not any((folder / pair[0]).exists() for folder in (ROOT, ROOT / "tests"))]
    assert not missing, "\n".join(f"{source.name} names {name}" for name, source in missing)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["docs/events.md", "docs/log-events.md"])
def test_generated_pages_are_current(name: str) -> None:
    written = generator().PAGES[name]()
    assert (ROOT / name).read_text() == written, f"{name} is out of date: run scripts/generate_docs.py"


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids(DOCUMENTS))
def test_python_examples_compile(document: Path) -> None:
    for example in re.findall(r"^```python\n(.*?)^```", document.read_text(), re.MULTILINE | re.DOTALL):
        compile(example, document.name, "exec")


def test_the_models_file_of_the_document_loads(tmp_path: Path) -> None:
    (example,) = re.findall(r"^```toml\n(.*?)^```", (ROOT / "docs/models.md").read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "models.toml").write_text(example)
    load_catalog(tmp_path / "models.toml", Endpoint("http://default/v1", None), environ={"GPU_KEY": "key"})


@pytest.mark.slow
def test_names_of_log_events_are_snake_case() -> None:
    wrong = [name for name in generator().log_events() if not re.fullmatch(r"[a-z]+(_[a-z0-9]+)+", name)]
    assert not wrong, "a log event is named object first, in snake_case, such as webhook_failed"


def rows_of_settings() -> dict[str, tuple[str, str]]:
    """Returns (default, values) of each row of docs/settings.md that documents a setting."""
    rows = re.findall(rf"^\| `{PREFIX}(\w+)` \| ([^|]+) \| ([^|]+) \|", (ROOT / "docs/settings.md").read_text(), re.M)
    return {name.lower(): (default, values) for name, default, values in rows}


def test_every_setting_is_documented() -> None:
    assert rows_of_settings().keys() == Settings.model_fields.keys()


@pytest.mark.parametrize("name", Settings.model_fields)
def test_defaults_and_bounds_are_those_of_the_code(name: str) -> None:
    default, values = rows_of_settings()[name]
    info: FieldInfo = Settings.model_fields[name]
    assert default == written_default(info.default)
    low, high = bound(info, "ge"), bound(info, "le")
    if low is not None and high is not None:
        assert f"{low:,.0f}–{high:,.0f}" in values
    elif low is not None:
        assert f"at least {low:,.0f}" in values


def written_default(value: Any) -> str:
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:.0f}`" if isinstance(value, float) else f"`{value}`"


def bound(info: FieldInfo, name: str) -> float | None:
    return next((getattr(entry, name) for entry in info.metadata if hasattr(entry, name)), None)


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids(DOCUMENTS))
def test_named_variables_are_settings(document: Path) -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields} | VARIABLES_OF_SCRIPTS
    for name in re.findall(rf"{PREFIX}[A-Z_]+[A-Z]\b(?![_*])", document.read_text()):
        assert name in known, f"{document.name} names {name}, which is no setting"


def commands(document: Path) -> Iterator[list[str]]:
    """Yields the arguments of every `everthread …` command in the code of a document."""
    text = document.read_text()
    lines = [line for block in FENCE.findall(text) for line in block.splitlines()]
    lines += [line for line in text.splitlines() if line.startswith("    ")]
    lines += CODE_SPAN.findall(text)
    for line in lines:
        found = re.match(r"\s*(?:\.venv/bin/)?everthread ([a-z].*)", line)
        if found:
            yield shlex.split(found[1], comments=True)


@cache
def root_command() -> Any:
    """Returns the command `everthread`, which takes a while to make."""
    return typer.main.get_command(app)


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids(DOCUMENTS))
def test_commands_exist_with_their_options(document: Path) -> None:
    for arguments in commands(document):
        command: Any = root_command()
        while isinstance(command, TyperGroup) and arguments and not arguments[0].startswith("-"):
            assert arguments[0] in command.commands, f"{document.name}: there is no command {arguments}"
            command = command.commands[arguments.pop(0)]
        known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        for option in (argument for argument in arguments if argument.startswith("--")):
            assert option in known, f"{document.name}: {command.name} has no option {option}"


def exported_metrics() -> set[str]:
    """Returns the names of the metrics as /metrics shows them: the names of counters end in _total."""
    text = (ROOT / "service/telemetry/prometheus.py").read_text()
    families = re.findall(r'(Counter|Gauge|Histogram)MetricFamily\(\s*"(\w+)"', text)
    return {f"{name}_total" if family == "Counter" else name for family, name in families}


def test_named_metrics_are_exported() -> None:
    named = {
        name
        for document in DOCUMENTS
        for span in code_spans(document)
        for name in re.findall(r"everthread_(?!everthread)\w+", span)
    }
    assert named - {OWNER_ROLE} <= exported_metrics()
    assert exported_metrics() <= set(re.findall(r"everthread_\w+", (ROOT / "docs/operations.md").read_text()))


def test_the_layout_names_every_floor() -> None:
    """The table of docs/architecture.md, "Layout", is that of the import contract "floors"."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    floors = next(contract for contract in contracts if contract["id"] == "floors")["layers"]
    expected = {name.strip(): str(n) for n, floor in enumerate(floors, 1) for name in floor.split("|")}
    rows = re.findall(r"^\| (\d+) \| `service/(\w+)(?:/|\.py)` \|", (ROOT / "docs/architecture.md").read_text(), re.M)
    assert {name: floor for floor, name in rows} == expected


def test_the_glossary_defines_each_word_once_in_order() -> None:
    paragraphs = (ROOT / "docs/glossary.md").read_text().strip().split("\n\n")[2:]
    entries = [re.match(r"\*\*(.+?)\*\* \(`[\w/.]+`\): ", paragraph) for paragraph in paragraphs]
    assert all(entries), "an entry is: **word** (`place`): meaning"
    words = [entry[1] for entry in entries if entry]
    assert words == sorted(set(words), key=str.lower)


def test_pictures_are_few_small_and_shown() -> None:
    pictures = sorted((ROOT / "docs" / "images").iterdir())
    texts = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *ROOT.glob("docs/*.md")))
    assert 2 <= len(pictures) <= MAX_PICTURES
    assert [path.name for path in pictures if path.stat().st_size > MAX_PICTURE_BYTES] == []
    assert [path.name for path in pictures if f"images/{path.name})" not in texts] == []
