"""`scripts/bench turns` and `scripts/bench indexing` measure, on an embedded Postgres and with their own processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.bench_indexing_report import PARTS, IndexingReport
from scripts.bench_report import Report

TIMEOUT_S = 280
pytestmark = [pytest.mark.embedded, pytest.mark.slow, pytest.mark.timeout(TIMEOUT_S + 20)]

ROOT = Path(__file__).parents[2]


def run(name: str, report: Path, *options: str) -> None:
    command = (sys.executable, "-m", f"scripts.{name}", *options, "--json", str(report))
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, timeout=TIMEOUT_S)


def test_a_short_bench(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    run("bench_turns", path, "--kinds", "tool", "--clients", "2", "--seconds", "0.5", "--rounds", "1")
    report = Report.load(path)
    assert list(report.series) == ["tool/2/floor", "tool/2/relay", "tool/2/everthread"]
    assert all(report.series[f"tool/2/{name}"]["server_cpu_ms"] > 0 for name in ("relay", "everthread"))
    assert all(report.series[f"tool/2/{name}"]["postgres_cpu_ms"] > 0 for name in ("relay", "everthread"))
    assert report.statement_counts()["tool/relay"] == pytest.approx(12, abs=0.5)
    assert report.statement_counts()["tool/everthread"] > 0
    assert "runs" in {table.name for table in report.tables}


def test_a_short_bench_of_indexing(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    run("bench_indexing", path, "--scale", "0.002", "--rounds", "1", "--arrivals", "1")
    report = IndexingReport.load(path)
    assert set(report.files) == {"english.txt", "table.csv", "page.html", "paper.pdf"}
    for [figures] in report.files.values():
        assert figures.chunks > 0
        assert figures.windows > 0
        assert all(figures.cpu[part] > 0 for part in PARTS)
        assert figures.seconds > 0
        assert figures.floor_s > 0
        assert figures.floor_cpu_s > 0
    assert len(report.waits["idle"]) == len(report.waits["busy"]) == 1
