"""The report of a soak, as a table and as JSON."""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from rich.console import Console
from rich.table import Table

from tests.soak.checks import Verdict
from tests.soak.hostile_model import ModelRecord
from tests.soak.killer import KILLS, KillReport
from tests.soak.ledger import Ledger

if TYPE_CHECKING:
    from tests.soak.soak import SoakPlan

SHOWN = 20


@dataclass(frozen=True, slots=True)
class SoakReport:
    """All that a soak did and found. `log` counts the events of the server's log by level and name."""

    plan: SoakPlan
    kills: KillReport
    ledger: Ledger
    model: ModelRecord
    verdict: Verdict
    starts: int
    log: Mapping[str, int]

    @property
    def is_clean(self) -> bool:
        return self.verdict.is_clean

    def as_json(self) -> dict[str, Any]:
        verdict, ledger = self.verdict, self.ledger
        return {
            "minutes": self.plan.minutes,
            "seed": self.plan.seed,
            "workers": self.plan.workers,
            "clients": self.plan.clients,
            "kills": self.kills.kills,
            "faults": dict(self.kills.faults),
            "starts": self.starts,
            "requests": dict(ledger.requests),
            "answers": {str(status): count for status, count in sorted(ledger.answers.items())},
            "breaks": dict(ledger.breaks),
            "unanswered": ledger.unanswered,
            "resumed_streams": ledger.resumed_streams,
            "model_calls": self.model.calls,
            "model_answers": dict(self.model.kinds),
            "compared": dict(verdict.compared),
            "runs": dict(verdict.statuses),
            "errors_of_runs": dict(verdict.errors),
            "lost": verdict.lost,
            "doubled": verdict.doubled,
            "stuck": verdict.stuck,
            "wrong": verdict.wrong,
            "recovery_s": {name: percentiles(times) for name, times in self._recoveries().items()},
            "log": dict(self.log),
        }

    def _recoveries(self) -> dict[str, list[float]]:
        """Returns the times to recover by fault, and those of all kills."""
        times: dict[str, list[float]] = {"all kills": [t for name, t in self.kills.recoveries if name in KILLS]}
        for name, time in self.kills.recoveries:
            times.setdefault(name, []).append(time)
        return {name: found for name, found in times.items() if found}


def percentiles(times: Sequence[float]) -> dict[str, float]:
    """Returns p50, p99 and the maximum, in seconds."""
    cuts = statistics.quantiles(times, n=100, method="inclusive") if len(times) > 1 else [times[0]] * 99
    return {"p50": round(cuts[49], 2), "p99": round(cuts[98], 2), "max": round(max(times), 2)}


def print_report(report: SoakReport, console: Console) -> None:
    """Prints tables of the faults and of the findings, and then each finding."""
    found = report.as_json()
    table = Table(title=f"{report.plan.minutes:g} minutes, seed {report.plan.seed}, {report.plan.workers} workers")
    for heading in ("fault", "count", "recovered p50 s", "p99 s", "max s"):
        table.add_column(heading, justify="left" if heading == "fault" else "right")
    for name, times in found["recovery_s"].items():
        count = sum(report.kills.faults[kill] for kill in KILLS) if name == "all kills" else report.kills.faults[name]
        table.add_row(name, str(count), *(f"{times[key]:.2f}" for key in ("p50", "p99", "max")))
    console.print(table)
    summary = Table()
    summary.add_column("quantity")
    summary.add_column("value", justify="right")
    compared = found["compared"]
    rows = {
        "processes killed": found["kills"],
        "requests": sum(found["requests"].values()),
        "tries that broke": sum(found["breaks"].values()),
        "streams resumed": found["resumed_streams"],
        "model calls": found["model_calls"],
        **{f"compared: {name}": count for name, count in compared.items()},
        **{f"runs {name}": count for name, count in found["runs"].items()},
        **{name: len(found[name]) for name in ("lost", "doubled", "stuck", "wrong")},
    }
    for name, value in rows.items():
        summary.add_row(name, str(value))
    console.print(summary)
    for name in ("lost", "doubled", "stuck", "wrong"):
        for line in found[name][:SHOWN]:
            console.print(f"{name}: {line}", markup=False, highlight=False)
    for name, count in found["errors_of_runs"].items():
        console.print(f"{count} × {name}", markup=False, highlight=False)
    for name, count in sorted(report.log.items()):
        console.print(f"log: {count} × {name}", markup=False, highlight=False)


def read_log(log: Path) -> dict[str, int]:
    """Returns the numbers of warnings and errors of the server's log by name, and of other lines by their beginning."""
    counts: Counter[str] = Counter()
    for raw in log.read_bytes().splitlines():
        try:
            line = orjson.loads(raw)
            if line.get("level") in ("warning", "error", "critical"):
                end = str(line.get("exception", "")).strip().rsplit("\n", 1)[-1][:120]
                counts[f"{line['level']} {line.get('event')} {end}".strip()] += 1
        except (orjson.JSONDecodeError, AttributeError):
            text = re.sub(rb"\d+", b"N", raw)[:100].decode(errors="replace")
            counts[f"plain {text}"] += 1
    return dict(counts)
