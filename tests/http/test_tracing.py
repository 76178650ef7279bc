"""Traces, as a collector receives them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.conftest import StartServer
from tests.http.helpers import run_of
from tests.scripted import ScriptedServer, errors, says

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
PARENT = bytes.fromhex("b7ad6b7169203331")


class Collector:
    """An OTLP endpoint over HTTP that keeps the requests it receives."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        self.requests.append(ExportTraceServiceRequest.FromString(await request.read()))
        return web.Response(content_type="application/x-protobuf")

    @property
    def spans(self) -> list[Any]:
        return [s for r in self.requests for rs in r.resource_spans for ss in rs.scope_spans for s in ss.spans]


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    found = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", found.take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{runner.addresses[0][1]}")
    yield found
    await runner.cleanup()


def attributes(span: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in span.attributes}


def named(spans: Iterable[Any], name: str) -> list[Any]:
    return [span for span in spans if span.name == name]


@pytest.mark.slow
async def test_a_run_and_its_calls_belong_to_the_request(
    start_server: StartServer, model: ScriptedServer, collector: Collector
) -> None:
    model.script(says("Hello", usage=(11, 5)), errors(400))
    async with start_server() as client:
        client.headers["traceparent"] = CALLER
        run = await client.settled(await run_of(client, "Hi"))
        failed = await client.settled(await run_of(client, "Hi"))
    spans = collector.spans
    first, second = named(spans, "POST /v1/threads/{thread_id}/runs")
    assert first.parent_span_id == PARENT
    assert attributes(first)["http.response.status_code"] == 200
    assert attributes(first)["everthread.request_id"].startswith("req_")
    by_run = {attributes(span)["everthread.run_id"]: span for span in named(spans, "run")}
    assert by_run[run["id"]].parent_span_id == first.span_id
    assert attributes(by_run[run["id"]])["everthread.run_status"] == "completed"
    assert by_run[failed["id"]].parent_span_id == second.span_id
    assert by_run[failed["id"]].status.message == "invalid_prompt"
    call, broken = named(spans, "model call")
    assert call.parent_span_id == by_run[run["id"]].span_id
    assert attributes(call)["gen_ai.usage.input_tokens"] == 11
    assert broken.status.code == 2
    assert by_run[run["id"]].start_time_unix_nano <= call.start_time_unix_nano < call.end_time_unix_nano
    resource = collector.requests[0].resource_spans[0].resource
    assert attributes(resource)["service.name"] == "everthread"


async def test_a_collector_that_is_away_stops_nothing(
    start_server: StartServer, model: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("service.telemetry.tracing.CLOSE_S", 0.1)
    async with start_server() as client:
        assert (await client.settled(await run_of(client, "Hi")))["status"] == "completed"
