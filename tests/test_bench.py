"""The parts of `scripts/bench` that compute: its statements, layers, ratios and comparison."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from scripts import bench_indexing_report as indexing
from scripts.bench_documents import SIZES, SMALL, make_documents
from scripts.bench_growth import Cost
from scripts.bench_layers import count_layers, parse_stacks
from scripts.bench_model import reply_for
from scripts.bench_postgres import TableSize, cpu_between, parse_statements
from scripts.bench_report import Report, print_comparison, print_report, ratios
from scripts.bench_watchers import MARK, WatcherClient, WatcherRates

LOG = """\
[everthread]LOG:  statement: BEGIN;
[relay]LOG:  execute __asyncpg_stmt_1__: SELECT 1
[everthread]LOG:  execute __asyncpg_stmt_2__: INSERT INTO events
\t    VALUES ($1)
[]LOG:  checkpoint starting: time
[everthread]LOG:  statement: SELECT pg_advisory_unlock_all();
\tCLOSE ALL;
"""
STACKS = """\
main (/x/service/cli/main.py:1);run (/lib/asyncio/runners.py:9);get (/x/service/http/runs.py:3);dumps (/x/json.py:2) 3
main (/x/service/cli/main.py:1);run (/lib/asyncio/runners.py:9) 2
_worker (/lib/concurrent/futures/thread.py:81) 50
main (/x/service/cli/main.py:1);run (/lib/asyncio/runners.py:9);fetch (/site/asyncpg/connection.py:3) 5
"""


def _report(cpu_ms: float) -> Report:
    figures = {"rate": 10.0, "first_ms_p50": 5.0, "first_ms_p90": 9.0, "turn_ms_p50": 20.0, "postgres_cpu_ms": 3.0}
    return Report(
        {"commit": "a" * 40},
        series={
            "plain/1/floor": {**figures, "server_cpu_ms": 0.0, "postgres_cpu_ms": 0.0},
            "plain/1/relay": {**figures, "server_cpu_ms": 2.0},
            "plain/1/everthread": {**figures, "server_cpu_ms": cpu_ms},
        },
        statements={"plain/relay": {"BEGIN": 2.0}, "plain/everthread": {"BEGIN": 3.0, "SELECT 1": 1.5}},
        pss={"relay": 30 << 20, "everthread": 80 << 20},
        turns=7,
        tables=[TableSize("runs", 5, 10, 20, 5, 1 << 20, 2 << 20)],
    )


def test_statements_are_those_of_one_database_on_one_line_each() -> None:
    assert parse_statements(LOG, "everthread") == ["BEGIN;", "INSERT INTO events VALUES ($1)"]


def test_cpu_time_of_new_processes_counts() -> None:
    assert cpu_between({1: 2.0, 2: 1.0}, {1: 2.5, 3: 0.25}) == pytest.approx(0.75)


def test_a_sample_belongs_to_the_innermost_layer() -> None:
    assert count_layers(parse_stacks(STACKS)) == {"handlers": 3, "event loop": 2, "asyncpg": 5}


def test_ratios_are_to_the_relay_of_the_same_row() -> None:
    assert ratios(_report(8.0), "plain/1/everthread")["server_cpu_ms"] == pytest.approx(4.0)


def test_a_report_that_was_saved_is_compared(tmp_path: Path) -> None:
    _report(8.0).save(tmp_path / "before.json")
    before, printed = Report.load(tmp_path / "before.json"), io.StringIO()
    assert before == _report(8.0)
    console = Console(file=printed, width=200)
    print_report(_report(4.0), console)
    print_comparison(before, _report(4.0), console)
    assert "8.00 → 4.00 (0.50)" in printed.getvalue()
    assert "4.00 → 2.00 (0.50)" in printed.getvalue()
    assert "statements of plain/everthread: 4.5 → 4.5" in printed.getvalue()


async def test_a_watcher_counts_pieces_that_arrive_in_parts() -> None:
    client = WatcherClient(b"GET / HTTP/1.1\r\n\r\n", 3)
    client.data_received(b"HTTP/1.1 200 OK\r\n\r\nretry: 1000\n\n")
    assert client.is_ready.done()
    for part in (MARK + b"data: {}\n\n" + MARK[:9], MARK[9:] + b"data: {}\n\n"):
        client.data_received(part)
    assert (client.pieces, client.is_done.done()) == (2, False)
    client.data_received(MARK)
    assert (client.pieces, client.is_done.done()) == (3, True)


def test_watchers_are_counted_by_time_and_by_cpu_time() -> None:
    rates = WatcherRates(10, pieces=600, seconds=3.0, server_cpu=0.5)
    assert (rates.per_s, rates.per_cpu_s) == (200.0, 1200.0)


def test_costs_are_for_one_operation() -> None:
    cost = Cost([0.001, 0.002, 0.009], server_cpu=0.003, postgres_cpu=0.006)
    assert cost.figures() == {"ms_p50": 2.0, "server_cpu_ms": pytest.approx(1.0), "postgres_cpu_ms": pytest.approx(2.0)}


def test_the_tool_model_calls_once() -> None:
    first = reply_for({"model": "tool", "messages": [{"role": "user"}]})
    second = reply_for({"model": "tool", "messages": [{"role": "tool"}]})
    assert first is not None
    assert second is not None
    assert first.message["choices"][0]["finish_reason"] == "tool_calls"
    assert second.message["choices"][0]["finish_reason"] == "stop"
    assert reply_for({"model": "other", "messages": []}) is None


def test_documents_have_their_sizes() -> None:
    documents = make_documents(0.1)
    assert set(documents) == {*SIZES, SMALL}
    for name, size in SIZES.items():
        assert 0.5 * size < 10 * len(documents[name]) < 1.1 * size, name


def indexing_report(seconds: float) -> indexing.IndexingReport:
    cpu = {"parse": 1.0, "embed": 6.0, "words": 1.0, "database": 2.0}
    figures = indexing.FileFigures(
        bytes=100, chunks=10, windows=20, seconds=seconds, cpu=cpu, floor_s=5.0, floor_cpu_s=8.0
    )
    return indexing.IndexingReport({"commit": "0123456789ab"}, {"a.txt": [figures]}, {"idle": [1, 2], "busy": [3, 6]})


def test_a_report_of_indexing(tmp_path: Path) -> None:
    before, report = indexing_report(20.0), indexing_report(10.0)
    [figures] = report.files["a.txt"]
    assert (figures.by_floor, figures.cpu_by_floor, figures.chunk_rate) == (2.0, 1.25, 1.0)
    assert figures.share("database") == 0.2
    report.save(tmp_path / "report.json")
    assert indexing.IndexingReport.load(tmp_path / "report.json") == report
    console = Console(file=io.StringIO(), width=160)
    indexing.print_report(report, console)
    indexing.print_comparison(before, report, console)
    assert isinstance(console.file, io.StringIO)
    printed = console.file.getvalue()
    for text in ("1.25", "60.0%", "3.0 times as long", "4.00 → 2.00 (0.50)", "0.50 → 1.00 (2.00)"):
        assert text in printed
