"""`scripts/bench turns` measures all three targets, on an embedded Postgres and with processes of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.bench_report import Report

pytestmark = [pytest.mark.embedded, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 150


def test_a_short_bench(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    options = ("--kinds", "tool", "--clients", "2", "--seconds", "0.5", "--rounds", "1", "--json", str(path))
    subprocess.run(
        (sys.executable, "-m", "scripts.bench_turns", *options),
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=TIMEOUT_S,
    )
    report = Report.load(path)
    assert list(report.series) == ["tool/2/floor", "tool/2/relay", "tool/2/everthread"]
    assert all(report.series[f"tool/2/{name}"]["server_cpu_ms"] > 0 for name in ("relay", "everthread"))
    assert all(report.series[f"tool/2/{name}"]["postgres_cpu_ms"] > 0 for name in ("relay", "everthread"))
    assert report.statement_counts()["tool/relay"] == pytest.approx(12, abs=0.5)
    assert report.statement_counts()["tool/everthread"] > 0
    assert "runs" in {table.name for table in report.tables}
