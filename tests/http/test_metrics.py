"""The metrics of a whole server, and access to them."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.telemetry.counters import BUCKETS, Histogram
from tests.client import KEY, Client
from tests.conftest import StartServer
from tests.fake_search_engine import WAIT_S, FakeSearchEngine
from tests.http.helpers import assistant_with, run_of, thread_with
from tests.http.stores import file_named, settled
from tests.scripted import ScriptedServer, calls, errors, says

WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def scraped(client: Client, **headers: str) -> Samples:
    async with client.session.get(client.base_url.removesuffix("/v1") + "/metrics", headers=headers) as response:
        assert response.status == 200, await response.text()
        assert response.headers["Content-Type"].startswith("text/plain")
        families = text_string_to_metric_families(await response.text())
        return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((f"everthread_{name}", frozenset(labels.items())))


async def test_a_runs_life_is_counted(client: Client, model: ScriptedServer) -> None:
    model.script(calls(("weather", {})), says("Sunny", usage=(11, 5)), errors(400))
    run = await client.settled(await run_of(client, "Hi", tools=[WEATHER]))
    seen = await scraped(client)
    assert value(seen, "runs_active", status="requires_action") == 1
    assert value(seen, "runs_active", status="queued") == 0
    path = f"/threads/{run['thread_id']}/runs/{run['id']}"
    call = run["required_action"]["submit_tool_outputs"]["tool_calls"][0]
    outputs = {"tool_outputs": [{"tool_call_id": call["id"], "output": "sun"}]}
    await client.settled(await client.post(f"{path}/submit_tool_outputs", outputs))
    await client.settled(await run_of(client, "Hi"))
    seen = await scraped(client)
    counts = {"queued": 3, "in_progress": 3, "requires_action": 1, "completed": 1, "failed": 1}
    assert {status: value(seen, "runs_total", status=status) for status in counts} == counts
    assert value(seen, "run_status_seconds_count", status="requires_action") == 1
    assert value(seen, "run_status_seconds_count", status="in_progress") == 3
    assert value(seen, "runs_active", status="requires_action") == 0
    assert value(seen, "model_calls_total", outcome="finished") == 2
    assert value(seen, "model_calls_total", outcome="failed") == 1
    assert (value(seen, "tokens_total", kind="completion") or 0) > 5
    route = "/v1/threads/{thread_id}/runs"
    assert value(seen, "requests_total", method="POST", route=route, status="200") == 2
    assert value(seen, "request_seconds_count", method="POST", route=route) == 2
    assert value(seen, "database_up") == 1
    assert (value(seen, "database_connections_max") or 0) >= 1
    assert ("process_resident_memory_bytes", frozenset[tuple[str, str]]()) in seen


def ended(seen: Samples) -> tuple[float | None, float | None]:
    """Returns how many files were indexed, and for how many that failed."""
    completed, failed = (value(seen, "indexed_files_total", outcome=outcome) for outcome in ("completed", "failed"))
    return completed, failed


async def test_indexing_is_counted(client: Client, search_engine: FakeSearchEngine) -> None:
    ids = [await file_named(client, name) for name in ("a.txt", "bad.txt", "slow.txt")]
    store = await client.post("/vector_stores", {"file_ids": ids})
    async with asyncio.timeout(WAIT_S):
        while ended(seen := await scraped(client)) != (1, 1):
            await asyncio.sleep(0.005)
    assert (value(seen, "files_in_progress"), value(seen, "indexed_chunks_total")) == (1, 1)
    search_engine.release()
    await settled(client, store["id"])
    seen = await scraped(client)
    assert (value(seen, "files_in_progress"), value(seen, "indexing_seconds_count")) == (0, 3)


async def test_open_streams(client: Client, model: ScriptedServer) -> None:
    model.script(says("one two", pieces=2).waits("second", before=2))
    assistant, thread = await assistant_with(client), await thread_with(client, "Hi")
    body = {"assistant_id": assistant["id"], "stream": True}
    frames = client.stream(f"/threads/{thread['id']}/runs", body)
    await anext(frames)
    assert value(await scraped(client), "streams_open") == 1
    model.open_gate("second")
    async for _ in frames:
        pass
    assert value(await scraped(client), "streams_open") == 0


async def test_what_clients_ask_for_makes_no_new_labels(client: Client) -> None:
    for path in ("/none", "/none/of/these", "/threads/thread_1", "/threads/thread_2"):
        await client.call("GET", path)
    await client.call("PROPFIND", "/coffee")
    labels = {tuple(sorted(labels)) for name, labels in await scraped(client) if name == "everthread_requests_total"}
    assert labels == {
        (("method", "GET"), ("route", "unmatched"), ("status", "404")),
        (("method", "GET"), ("route", "/v1/threads/{thread_id}"), ("status", "404")),
        (("method", "other"), ("route", "unmatched"), ("status", "404")),
    }


async def test_without_a_key_only_from_this_machine(start_server: StartServer) -> None:
    proxied = {"X-Forwarded-For": "203.0.113.7"}
    async with start_server() as client:
        await scraped(client)
        url = client.base_url.removesuffix("/v1") + "/metrics"
        async with client.session.get(url, headers=proxied) as response:
            assert response.status == 401
        assert await scraped(client, **proxied, Authorization=f"Bearer {KEY}")
    async with start_server(metrics="open") as client:
        assert await scraped(client, **proxied)


@pytest.mark.parametrize(
    "header",
    ["X-Forwarded-Host", "X-Forwarded-Proto", "CF-Connecting-IP", "True-Client-IP", "X-Client-IP", "Forwarded"],
)
async def test_a_header_of_any_proxy_says_that_the_client_is_elsewhere(client: Client, header: str) -> None:
    """A proxy on this machine may send its own Host, and not name the client by X-Forwarded-For."""
    url = client.base_url.removesuffix("/v1") + "/metrics"
    async with client.session.get(url, headers={header: "203.0.113.7"}) as response:
        assert response.status == 401


async def test_a_foreign_host_needs_a_key(client: Client) -> None:
    """A page whose name was rebound to this machine is a local peer with a foreign Host."""
    url = client.base_url.removesuffix("/v1") + "/metrics"
    for host in ("localhost", "LOCALHOST:80", "localhost.", "127.0.0.1:8000", "127.8.9.1", "[::1]:80", "[::1]"):
        await scraped(client, Host=host)
    foreign = ("rebound.example", "rebound.example:80", "localhost.rebound.example", "127.0.0.1.rebound.example")
    for host in (*foreign, "203.0.113.7", "0.0.0.0", "[2001:db8::1]:80", "rebound.example@localhost", "[::1"):
        async with client.session.get(url, headers={"Host": host}) as response:
            assert response.status in (400, 401), host
        if host in foreign:
            assert response.status == 401, host
            await scraped(client, Host=host, Authorization=f"Bearer {KEY}")


def test_a_histogram_is_cumulative_only_when_told() -> None:
    histogram = Histogram()
    for seconds in (0.001, 0.005, 0.006, 1000.0):
        histogram.observe(seconds)
    assert histogram.counts == [2, 1, *[0] * (len(BUCKETS) - 2), 1]


@pytest.mark.slow
def test_nothing_is_loaded_until_it_is_asked_for() -> None:
    program = (
        "import sys, service.app.server; print([name for name in sys.modules"
        " if name.partition('.')[0] in ('prometheus_client', 'opentelemetry')])"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"\[\]\s*", shown.stdout)
