"""The report of `scripts/bench turns`: its JSON, and the tables that it prints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from scripts.bench_model import TOKENS
from scripts.bench_postgres import TableSize

MIB = 1024 * 1024
TARGETS = ("floor", "relay", "everthread")
# The figures of a series, their headings, and whether less is better.
_FIGURES = {
    "rate": ("turns/s", False),
    "first_ms_p50": ("first ms", True),
    "first_ms_p90": ("p90", True),
    "turn_ms_p50": ("turn ms", True),
    "server_cpu_ms": ("server CPU ms", True),
    "postgres_cpu_ms": ("Postgres CPU ms", True),
}
_NOISE = 0.05  # a smaller change is printed without a colour


@dataclass(slots=True)
class Report:
    """The figures of one run of the bench.

    `series` has the figures by "kind/clients/target"; `statements` the statements of one turn by "kind/target", by
    their text; `pss` bytes by target; `tables` the tables of Everthread's database after `turns` turns.
    """

    about: dict[str, Any]
    series: dict[str, dict[str, float]] = field(default_factory=dict)
    statements: dict[str, dict[str, float]] = field(default_factory=dict)
    pss: dict[str, int] = field(default_factory=dict)
    turns: int = 0
    tables: list[TableSize] = field(default_factory=list)

    def save(self, path: Path) -> None:
        path.write_bytes(orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2))

    @classmethod
    def load(cls, path: Path) -> Report:
        given = orjson.loads(path.read_bytes())
        return cls(**{**given, "tables": [TableSize(**row) for row in given["tables"]]})

    def statement_counts(self) -> dict[str, float]:
        """Returns the number of statements of one turn, by "kind/target"."""
        return {key: sum(texts.values()) for key, texts in self.statements.items()}


def print_report(report: Report, console: Console) -> None:
    for kind, clients in dict.fromkeys(tuple(key.split("/")[:2]) for key in report.series):
        console.print(_series_table(report, kind, clients))
    console.print(_process_table(report))
    console.print(_sizes_table(report))


def print_comparison(before: Report, report: Report, console: Console) -> None:
    """Prints the change of each figure that both reports have, as `before → after (factor)`."""
    table = Table(title=f"Change since {before.about['commit'][:10]}", title_justify="left")
    for heading in ("series", *(heading for heading, _ in _FIGURES.values())):
        table.add_column(heading, justify="left" if heading == "series" else "right")
    for key, figures in report.series.items():
        if key in before.series:
            cells = [_change(before.series[key], figures, name, less) for name, (_, less) in _FIGURES.items()]
            table.add_row(key, *cells)
    console.print(table)
    table = Table(title="Ratios to the relay of the same run", title_justify="left")
    for heading in ("series", "server CPU", "Postgres CPU", "turns/s", "first token"):
        table.add_column(heading, justify="left" if heading == "series" else "right")
    names = {"server_cpu_ms": True, "postgres_cpu_ms": True, "rate": False, "first_ms_p50": True}
    for key in report.series:
        if key.endswith("/everthread") and key in before.series:
            old, new = ratios(before, key), ratios(report, key)
            table.add_row(key, *(_change(old, new, name, less) for name, less in names.items()))
    console.print(table)
    counts, old_counts = report.statement_counts(), before.statement_counts()
    for key in counts.keys() & old_counts.keys():
        console.print(f"statements of {key}: {old_counts[key]:.1f} → {counts[key]:.1f}")
    for target in report.pss.keys() & before.pss.keys():
        console.print(f"PSS of {target}: {before.pss[target] / MIB:.0f} → {report.pss[target] / MIB:.0f} MiB")


def ratios(report: Report, key: str) -> dict[str, float]:
    """Returns each figure of a series divided by that of the relay; an empty dict if the relay was not measured."""
    relay = report.series.get(key.rsplit("/", 1)[0] + "/relay", {})
    return {name: report.series[key][name] / relay[name] for name in _FIGURES if relay.get(name)}


def _change(before: Mapping[str, float], after: Mapping[str, float], name: str, less: bool) -> str:
    old, new = before.get(name), after.get(name)
    if not old or not new:
        return "–"
    factor = new / old
    text = f"{_number(old)} → {_number(new)} ({factor:.2f})"
    if abs(factor - 1) < _NOISE:
        return text
    return f"[green]{text}[/]" if (factor < 1) == less else f"[red]{text}[/]"


def _series_table(report: Report, kind: str, clients: str) -> Table:
    table = Table(title=f"{kind} turns, {clients} client{'s' if clients != '1' else ''}", title_justify="left")
    headings = ("target", "turns/s", "of floor", "first ms", "p90", "turn ms")
    for heading in (*headings, "server CPU ms", "× relay", "µs/token", "Postgres CPU ms", "× relay"):
        table.add_column(heading, justify="left" if heading == "target" else "right")
    floor = report.series.get(f"{kind}/{clients}/floor", {})
    for target in TARGETS:
        key = f"{kind}/{clients}/{target}"
        if (figures := report.series.get(key)) is None:
            continue
        by_relay = ratios(report, key)
        cpu = figures["server_cpu_ms"]
        table.add_row(
            target,
            _number(figures["rate"]),
            f"{figures['rate'] / floor['rate']:.0%}" if floor else "–",
            *(_number(figures[name]) for name in ("first_ms_p50", "first_ms_p90", "turn_ms_p50")),
            _number(cpu),
            _ratio(by_relay, "server_cpu_ms"),
            f"{cpu / TOKENS * 1000:.0f}" if cpu else "–",
            _number(figures["postgres_cpu_ms"]),
            _ratio(by_relay, "postgres_cpu_ms"),
        )
    return table


def _process_table(report: Report) -> Table:
    table = Table(title="Statements of a turn, and memory after the load", title_justify="left")
    counts = report.statement_counts()
    kinds = list(dict.fromkeys(key.split("/")[0] for key in counts))
    for heading in ("target", *(f"{kind} statements" for kind in kinds), "PSS MiB"):
        table.add_column(heading, justify="left" if heading == "target" else "right")
    for target, pss in report.pss.items():
        of_kinds = (f"{counts[f'{kind}/{target}']:.1f}" for kind in kinds)
        table.add_row(target, *of_kinds, f"{pss / MIB:.0f}")
    return table


def _sizes_table(report: Report) -> Table:
    table = Table(title=f"Everthread's tables after {report.turns} turns", title_justify="left")
    for heading in ("table", "live rows", "dead rows", "updates", "HOT", "table MiB", "indexes MiB"):
        table.add_column(heading, justify="left" if heading == "table" else "right")
    for row in report.tables:
        hot = f"{row.hot_updates / row.updates:.0%}" if row.updates else "–"
        sizes = (f"{size / MIB:.1f}" for size in (row.table_bytes, row.index_bytes))
        table.add_row(row.name, str(row.live), str(row.dead), str(row.updates), hot, *sizes)
    return table


def _ratio(by_relay: Mapping[str, float], name: str) -> str:
    return f"{by_relay[name]:.2f}" if by_relay.get(name) else "–"


def _number(value: float) -> str:
    if not value:
        return "–"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
