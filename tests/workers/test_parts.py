"""The parts of workers that need no process."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from service.errors import StartupError
from service.telemetry.counters import Counters
from service.workers.cores import usable_cores
from service.workers.counts import add_counts
from service.workers.listeners import open_listeners
from service.workers.pool_sizes import divide_connections, needed_connections


def test_counters_of_processes_are_added_up() -> None:
    one, other = Counters(), Counters()
    for counters, times in ((one, 1), (other, 2)):
        for _ in range(times):
            counters.count_request("GET", "/v1/threads/{thread_id}", 200, 0.02)
            counters.call_seconds.observe(3.0)
            counters.runs["completed"] += 1
        counters.chunks += times
    other.count_request("POST", "/v1/threads", 503, 1.0)
    total = Counters.from_counts(add_counts(one.to_counts(), other.to_counts()))
    assert total.requests == {("GET", "/v1/threads/{thread_id}", 200): 3, ("POST", "/v1/threads", 503): 1}
    assert sum(total.seconds["GET", "/v1/threads/{thread_id}"].counts) == 3
    assert (total.call_seconds.total, total.runs["completed"], total.chunks) == (9.0, 3, 3)
    assert Counters.from_counts(add_counts({}, one.to_counts())).to_counts() == one.to_counts()


def test_pools_fit_into_the_connections_of_postgres() -> None:
    assert divide_connections(needed_connections(8), 8) == 10
    for workers in range(1, 12):
        size = divide_connections(100, workers)
        assert 3 <= size <= 10
        assert (workers + 1) * (size + 4) <= 100
    with pytest.raises(StartupError, match="64 workers need a Postgres with max_connections of at least 467, and it"):
        divide_connections(100, 64)


@pytest.mark.parametrize(("text", "cores"), [("max 100000", None), ("50000 100000", 1), ("100000 100000", 1)])
def test_cores_are_those_of_the_container(tmp_path: Path, text: str, cores: int | None) -> None:
    quota = tmp_path / "cpu.max"
    quota.write_text(text)
    assert usable_cores(quota) == (usable_cores(tmp_path / "missing") if cores is None else cores)


def test_listeners_of_all_addresses_have_one_port() -> None:
    listeners = open_listeners("localhost", 0)
    ports = {listener.getsockname()[1] for listener in listeners}
    assert len(ports) == 1
    with pytest.raises(OSError, match="in use"):
        open_listeners("localhost", ports.pop())
    for listener in listeners:
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
        listener.close()
