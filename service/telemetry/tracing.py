"""OpenTelemetry traces: a span a request, a run and a model call, sent where OTEL_EXPORTER_OTLP_ENDPOINT says.

Spans of runs are made from the events that this process appends, with the events' own times. A run's span is a child of
the request that created it; a run that was taken over from another process begins a trace of its own.

Imported only where an endpoint is set: the packages cost 10 MB. No content and no key is in a span.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

import structlog
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from events.envelope import Recorded
from events.thread import events as e
from events.thread.state import ThreadState

# Runs and calls whose spans are open; the oldest are forgotten.
MAX_OPEN = 10_000
CLOSE_S = 3.0  # to send what is left when the server stops

log = structlog.get_logger()


class Tracing:
    """A listener of the feed, and what makes the spans of requests. `close` it."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("everthread")
        self._context = TraceContextTextMapPropagator()
        self._runs: OrderedDict[str, Span] = OrderedDict()
        self._calls: OrderedDict[str, Span] = OrderedDict()

    @contextmanager
    def request(
        self, method: str, route: str, headers: Mapping[str, str], request_id: str
    ) -> Iterator[Callable[[int], None]]:
        """A span around a request, under the caller's where it sent a traceparent. Yields what takes the status."""
        parent = self._context.extract({name.lower(): value for name, value in headers.items()})
        attributes = {"http.request.method": method, "http.route": route, "everthread.request_id": request_id}
        with self._tracer.start_as_current_span(
            f"{method} {route}", parent, kind=SpanKind.SERVER, attributes=attributes
        ) as span:

            def answered(status: int) -> None:
                span.set_attribute("http.response.status_code", status)
                if status >= 500:
                    span.set_status(StatusCode.ERROR)

            yield answered

    def on_thread_append(self, thread_id: str, recorded: Sequence[Recorded[Any]], state: ThreadState) -> None:
        for entry in recorded:
            event, at = entry.event, _nanoseconds(entry.at)
            match event:
                case e.RunCreated() | e.RunClaimed():
                    if event.run_id not in self._runs:
                        self._open_run(thread_id, event, at)
                case e.ModelCallStarted():
                    self._open_call(event, at)
                case e.ModelCallFinished() | e.ModelCallFailed() | e.ModelCallStopped():
                    self._close_call(event, at)
                case e.RunCompleted() | e.RunIncomplete() | e.RunFailed() | e.RunCancelled() | e.RunExpired():
                    self._close_run(event, at)
                case _:
                    pass

    async def close(self) -> None:
        """Sends what is left, for as long as CLOSE_S; a thread of its own, so that nothing waits for it longer."""
        loop, sent = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # the loop is gone: nobody waits
                loop.call_soon_threadsafe(sent.set)

        threading.Thread(target=shut_down, daemon=True).start()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await sent.wait()

    def _open_run(self, thread_id: str, event: e.RunCreated | e.RunClaimed, at: int) -> None:
        attributes: dict[str, AttributeValue] = {
            "everthread.run_id": event.run_id,
            "everthread.thread_id": thread_id,
            "everthread.resumed": isinstance(event, e.RunClaimed),
        }
        _keep(self._runs, event.run_id, self._tracer.start_span("run", start_time=at, attributes=attributes))

    def _open_call(self, event: e.ModelCallStarted, at: int) -> None:
        run = self._runs.get(event.run_id)
        context = trace.set_span_in_context(run) if run is not None else None
        attributes: dict[str, AttributeValue] = {
            "everthread.run_id": event.run_id,
            "everthread.call": event.call,
            "everthread.attempt": event.attempt,
        }
        span = self._tracer.start_span("model call", context, SpanKind.CLIENT, attributes, start_time=at)
        _keep(self._calls, event.run_id, span)

    def _close_call(self, event: e.ModelCallFinished | e.ModelCallFailed | e.ModelCallStopped, at: int) -> None:
        span = self._calls.pop(event.run_id, None)
        if span is None:
            return
        span.set_attribute("gen_ai.usage.input_tokens", event.usage.prompt_tokens)
        span.set_attribute("gen_ai.usage.output_tokens", event.usage.completion_tokens)
        if isinstance(event, e.ModelCallFinished):
            span.set_attribute("gen_ai.response.model", event.model)
        elif isinstance(event, e.ModelCallFailed):
            span.set_status(StatusCode.ERROR, event.error.code)
        span.end(at)

    def _close_run(self, event: e.RunEnd, at: int) -> None:
        span = self._runs.pop(event.run_id, None)
        if span is None:
            return
        span.set_attribute("everthread.run_status", event.type.removeprefix("run."))
        if isinstance(event, e.RunFailed):
            span.set_status(StatusCode.ERROR, event.error.code)
        span.end(at)


def open_tracing() -> Tracing:
    """Traces as OpenTelemetry's own variables say: endpoint, headers, sampler, service name."""
    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "everthread"}
    provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    complaints = logging.getLogger("opentelemetry")
    complaints.propagate = False
    complaints.handlers = [_ToOurs()]
    return Tracing(provider)


class _ToOurs(logging.Handler):
    """What the packages complain of, as lines of our log."""

    def emit(self, record: logging.LogRecord) -> None:
        log.warning("tracing", error=record.getMessage())


def _keep(spans: OrderedDict[str, Span], run_id: str, span: Span) -> None:
    spans[run_id] = span
    if len(spans) > MAX_OPEN:
        spans.popitem(last=False)


def _nanoseconds(at: datetime) -> int:
    return round(at.timestamp() * 1e6) * 1000
