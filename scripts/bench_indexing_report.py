"""The report of `scripts/bench indexing`: its JSON, and the tables that it prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

PARTS = ("parse", "embed", "words", "database")
_NOISE = 0.05  # a smaller change is printed without a colour


@dataclass(frozen=True, slots=True)
class FileFigures:
    """The figures of indexing a file once. `cpu` has the CPU time in seconds of each of PARTS; `floor_s` and
    `floor_cpu_s` are the times of the embedding model alone.
    """

    bytes: int
    chunks: int
    windows: int
    seconds: float
    cpu: dict[str, float]
    floor_s: float
    floor_cpu_s: float

    @property
    def by_floor(self) -> float:
        return self.seconds / self.floor_s

    @property
    def cpu_by_floor(self) -> float:
        return sum(self.cpu.values()) / self.floor_cpu_s

    @property
    def chunk_rate(self) -> float:
        return self.chunks / self.seconds

    def share(self, part: str) -> float:
        """Returns the share of one of PARTS in the CPU time."""
        return self.cpu[part] / sum(self.cpu.values())


@dataclass(slots=True)
class IndexingReport:
    """The figures of one run of the bench: of each file, one for each round, and the waits of small files in seconds,
    "idle" and "busy"."""

    about: dict[str, Any]
    files: dict[str, list[FileFigures]] = field(default_factory=dict)
    waits: dict[str, list[float]] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        path.write_bytes(orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2))

    @classmethod
    def load(cls, path: Path) -> IndexingReport:
        given = orjson.loads(path.read_bytes())
        files = {name: [FileFigures(**figures) for figures in rounds] for name, rounds in given["files"].items()}
        return cls(**{**given, "files": files})


def print_report(report: IndexingReport, console: Console) -> None:
    table = Table(title="Indexing a file, medians of the rounds", title_justify="left")
    headings = ("kB", "chunks", "windows", "seconds", "× floor", "CPU ×", "chunks/s", *PARTS)
    for heading in ("file", *headings):
        table.add_column(heading, justify="left" if heading == "file" else "right")
    for name, rounds in report.files.items():
        first = rounds[0]
        table.add_row(
            name,
            f"{first.bytes / 1000:.0f}",
            str(first.chunks),
            str(first.windows),
            f"{median(each.seconds for each in rounds):.1f}",
            f"{median(each.by_floor for each in rounds):.2f}",
            f"{median(each.cpu_by_floor for each in rounds):.2f}",
            f"{median(each.chunk_rate for each in rounds):.1f}",
            *(f"{median(each.share(part) for each in rounds):.1%}" for part in PARTS),
        )
    console.print(table)
    for line in _describe_waits(report.waits):
        console.print(line)


def print_comparison(before: IndexingReport, report: IndexingReport, console: Console) -> None:
    """Prints the change of each figure that both reports have, as `before → after (factor)`."""
    table = Table(title=f"Change since {before.about['commit'][:10]}", title_justify="left")
    for heading in ("file", "× floor", "CPU ×", "chunks/s", "windows"):
        table.add_column(heading, justify="left" if heading == "file" else "right")
    for name, rounds in report.files.items():
        if old := before.files.get(name):
            table.add_row(
                name,
                _change([each.by_floor for each in old], [each.by_floor for each in rounds]),
                _change([each.cpu_by_floor for each in old], [each.cpu_by_floor for each in rounds]),
                _change([each.chunk_rate for each in old], [each.chunk_rate for each in rounds], is_less_better=False),
                _change([each.windows for each in old], [each.windows for each in rounds]),
            )
    console.print(table)
    if wait_factors(before.waits) and wait_factors(report.waits):
        text = _change(wait_factors(before.waits), wait_factors(report.waits))
        console.print(f"A small file beside two large ones takes this many times as long as on the idle server: {text}")


def wait_factors(waits: Mapping[str, Sequence[float]]) -> list[float]:
    """Returns the waits beside large files over the median wait on the idle server."""
    return [wait / median(waits["idle"]) for wait in waits.get("busy", ())] if waits.get("idle") else []


def _describe_waits(waits: Mapping[str, Sequence[float]]) -> list[str]:
    lines = []
    for name, where in (("idle", "on the idle server"), ("busy", "while two large files are indexed")):
        if waits.get(name):
            lines.append(f"A small file {where}: {', '.join(f'{wait:.1f}' for wait in waits[name])} s")
    if factors := wait_factors(waits):
        lines[-1] += f" ({median(factors):.1f} times as long)"
    return lines


def _change(before: Sequence[float], after: Sequence[float], *, is_less_better: bool = True) -> str:
    old, new = median(before), median(after)
    text = f"{old:.2f} → {new:.2f} ({new / old:.2f})"
    if abs(new / old - 1) < _NOISE:
        return text
    return f"[green]{text}[/]" if (new < old) == is_less_better else f"[red]{text}[/]"
