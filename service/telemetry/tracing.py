"""OpenTelemetry traces: a span for each request, run and model call, sent to OTEL_EXPORTER_OTLP_ENDPOINT.

Spans of runs are made from the events that this process appends, with the times of the events. The span of a run is a
child of the request that created it. A run that was taken over from another process begins a trace of its own.

The module is imported only if an endpoint is set, since its packages take 10 MB. Spans hold no content and no key.
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

import structlog
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from events.envelope import RecordedEvent
from events.thread import events as e
from events.thread.state import ThreadState

# Bounds the runs and the calls whose spans are open; the oldest are dropped.
MAX_OPEN = 10_000
CLOSE_S = 3.0  # time to send the remaining spans when the server stops

log = structlog.get_logger()

# Events that change no span.
_Ignored = (
    e.LifeEvent
    | e.ImportEvent
    | e.MessageEvent
    | e.StepEvent
    | e.ToolCallEvent
    | e.RunAdmitted
    | e.RunModified
    | e.RunReviewed
    | e.RunReleased
    | e.RunQueued
    | e.RunStarted
    | e.RunRequiresAction
    | e.RunCancelling
)


class Tracing:
    """Makes spans of requests, and follows the feed to make spans of runs. `close` must be called at the end."""

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
        """Opens a span around a request, as a child of the caller's span if the request has a traceparent header.

        Yields the function that takes the status of the response.
        """
        parent = self._context.extract({name.lower(): value for name, value in headers.items()})
        attributes = {"http.request.method": method, "http.route": route, "everthread.request_id": request_id}
        with self._tracer.start_as_current_span(
            f"{method} {route}", parent, kind=SpanKind.SERVER, attributes=attributes
        ) as span:

            def set_status(status: int) -> None:
                span.set_attribute("http.response.status_code", status)
                if status >= 500:
                    span.set_status(StatusCode.ERROR)

            yield set_status

    def on_thread_append(
        self, thread_id: str, recorded: Sequence[RecordedEvent[e.ThreadEvent]], state: ThreadState
    ) -> None:
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
                    _ignored: _Ignored = event

    async def close(self) -> None:
        """Sends the remaining spans within CLOSE_S seconds, in a thread of its own that nothing waits for longer."""
        loop, sent = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # the loop is closed, so nobody waits
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
    """Returns tracing that OpenTelemetry's own variables configure: endpoint, headers, sampler, service name."""
    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "everthread"}
    provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    library_log = logging.getLogger("opentelemetry")
    library_log.propagate = False
    library_log.handlers = [_LogForwarder()]
    return Tracing(provider)


class _LogForwarder(logging.Handler):
    """Writes the warnings of OpenTelemetry's packages as lines of the server's log."""

    def emit(self, record: logging.LogRecord) -> None:
        log.warning("trace_export_failed", error=record.getMessage())


def _keep(spans: OrderedDict[str, Span], run_id: str, span: Span) -> None:
    spans[run_id] = span
    if len(spans) > MAX_OPEN:
        spans.popitem(last=False)


def _nanoseconds(at: datetime) -> int:
    return round(at.timestamp() * 1e6) * 1000
