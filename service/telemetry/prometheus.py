"""Renders the counts of `metrics` for Prometheus. It is imported by the first request, since its package takes 8 MB."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from events.thread.run_status import ACTIVE
from service.telemetry.counters import BUCKETS, Counters, Histogram
from service.telemetry.metrics import AttesterCounts

CONTENT_TYPE = CONTENT_TYPE_LATEST
_CPU, _START = "process_cpu_seconds", "process_start_time_seconds"
_PROCESS_SUMS = {
    "process_virtual_memory_bytes": "Virtual memory of the processes",
    "process_resident_memory_bytes": "Resident memory of the processes",
    "process_open_fds": "Open file descriptors of the processes",
    "process_max_fds": "Most file descriptors of the processes",
}
_BOUNDS = (*(str(bound) for bound in BUCKETS), "+Inf")


@dataclass(frozen=True, slots=True)
class Gauges:
    """Values that are read at the moment of a scrape. A value is None if the database did not answer.

    Over all processes: `active` is the number of runs by status, `indexing` the number of files to index,
    `webhooks_waiting` the number of webhook messages to deliver, `log_pending` the number of appends that wait for
    their index in the audit log, and `log_size` the number of events that have one.

    `processes` holds the gauges of each process of this server: `streams` is the number that it serves, `log_lag_s` the
    time in seconds for which events may have waited, as far as it knows, and the names of `process_gauges` are those of
    the metrics. `attesters` are the witnesses and time stamp authorities of the log, by name.
    """

    active: Mapping[str, int] | None
    indexing: int | None
    webhooks_waiting: int | None
    log_pending: int | None
    log_size: int | None
    attesters: Mapping[str, AttesterCounts]
    processes: Sequence[Mapping[str, float]]

    def sum(self, name: str) -> float:
        """Returns the sum of a gauge over the processes."""
        return sum(process.get(name, 0) for process in self.processes)

    def values(self, name: str) -> list[float]:
        """Returns the gauge of each process that has it."""
        return [process[name] for process in self.processes if name in process]


class _Collector:
    def __init__(self, metrics: Counters, gauges: Gauges) -> None:
        self._metrics = metrics
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        yield from self._http()
        yield from self._runs()
        yield from self._model()
        yield from self._files()
        yield from self._webhooks()
        yield from self._audit_log()
        yield from self._database()
        yield from self._sandboxes()
        yield from self._process()

    def _http(self) -> Iterator[Metric]:
        requests = CounterMetricFamily("everthread_requests", "Requests answered", labels=("method", "route", "status"))
        for (method, route, status), count in self._metrics.requests.items():
            requests.add_metric((method, route, str(status)), count)
        yield requests
        seconds = HistogramMetricFamily(
            "everthread_request_seconds", "Time to the end of the answer", labels=("method", "route")
        )
        for labels, histogram in self._metrics.seconds.items():
            buckets, total = _buckets(histogram)
            seconds.add_metric(labels, buckets, total)
        yield seconds
        yield GaugeMetricFamily(
            "everthread_streams_open", "Runs being streamed to clients", self._gauges.sum("streams")
        )

    def _runs(self) -> Iterator[Metric]:
        entered = CounterMetricFamily("everthread_runs", "Times that a run came into a status", labels=("status",))
        for status, count in self._metrics.runs.items():
            entered.add_metric((status,), count)
        yield entered
        spent = HistogramMetricFamily(
            "everthread_run_status_seconds", "Time that runs spent in a status before they left it", labels=("status",)
        )
        for status, histogram in self._metrics.in_status.items():
            buckets, total = _buckets(histogram)
            spent.add_metric((status,), buckets, total)
        yield spent
        if self._gauges.active is not None:
            active = GaugeMetricFamily(
                "everthread_runs_active",
                "Runs of all processes that have not ended; those queued are the queue",
                labels=("status",),
            )
            for status in sorted(ACTIVE):
                active.add_metric((status,), self._gauges.active.get(status, 0))
            yield active

    def _model(self) -> Iterator[Metric]:
        calls = CounterMetricFamily("everthread_model_calls", "Model calls of runs", labels=("outcome",))
        for outcome, count in self._metrics.calls.items():
            calls.add_metric((outcome,), count)
        yield calls
        bounds, total = _buckets(self._metrics.call_seconds)
        yield HistogramMetricFamily("everthread_model_call_seconds", "Time of a model call", bounds, total)
        used = CounterMetricFamily("everthread_tool_calls", "Calls of hosted tools", labels=("outcome",))
        for outcome, count in self._metrics.tool_calls.items():
            used.add_metric((outcome,), count)
        yield used
        bounds, total = _buckets(self._metrics.tool_call_seconds)
        yield HistogramMetricFamily("everthread_tool_call_seconds", "Time of a hosted tool's call", bounds, total)
        tokens = CounterMetricFamily("everthread_tokens", "Tokens of runs' model calls", labels=("kind",))
        for kind, count in self._metrics.tokens.items():
            tokens.add_metric((kind,), count)
        yield tokens

    def _files(self) -> Iterator[Metric]:
        ended = CounterMetricFamily("everthread_indexed_files", "Files of vector stores indexed", labels=("outcome",))
        for outcome, count in self._metrics.indexed.items():
            ended.add_metric((outcome,), count)
        yield ended
        yield CounterMetricFamily("everthread_indexed_chunks", "Chunks of files indexed", self._metrics.chunks)
        bounds, total = _buckets(self._metrics.indexing_seconds)
        yield HistogramMetricFamily("everthread_indexing_seconds", "Time of an attempt at indexing", bounds, total)
        if self._gauges.indexing is not None:
            text = "Files of vector stores of all processes that are being indexed or wait for it"
            yield GaugeMetricFamily("everthread_files_in_progress", text, self._gauges.indexing)

    def _webhooks(self) -> Iterator[Metric]:
        attempts = CounterMetricFamily("everthread_webhooks", "Attempts to deliver a webhook", labels=("outcome",))
        for outcome, count in self._metrics.webhooks.items():
            attempts.add_metric((outcome,), count)
        yield attempts
        if self._gauges.webhooks_waiting is not None:
            yield GaugeMetricFamily(
                "everthread_webhooks_waiting", "Messages that wait for their endpoint", self._gauges.webhooks_waiting
            )

    def _audit_log(self) -> Iterator[Metric]:
        gauges = self._gauges
        if gauges.log_pending is not None:
            text = "Appends that wait for their index in the audit log"
            yield GaugeMetricFamily("everthread_log_pending", text, gauges.log_pending)
        if gauges.log_size is not None:
            yield GaugeMetricFamily("everthread_log_size", "Events in the audit log", gauges.log_size)
        text = "Time for which events may have waited for their index"
        yield GaugeMetricFamily("everthread_log_lag_seconds", text, max(gauges.values("log_lag_s"), default=0))
        checks = CounterMetricFamily("everthread_run_checks", "Threads verified after a run", labels=("outcome",))
        for outcome, count in self._metrics.run_checks.items():
            checks.add_metric((outcome,), count)
        yield checks
        if gauges.attesters:
            text = "Events in the newest checkpoint that a witness or time stamp authority attested"
            sizes = GaugeMetricFamily("everthread_log_attested_size", text, labels=("attester",))
            text = "Requests to a witness or time stamp authority that failed, in a row"
            failures = GaugeMetricFamily("everthread_log_attester_failures", text, labels=("attester",))
            for name, counts in gauges.attesters.items():
                sizes.add_metric((name,), counts.size)
                failures.add_metric((name,), counts.failures)
            yield from (sizes, failures)

    def _database(self) -> Iterator[Metric]:
        gauges = self._gauges
        up = GaugeMetricFamily("everthread_database_up", "Whether the database answers", int(gauges.active is not None))
        pool = GaugeMetricFamily("everthread_database_connections", "Connections of the pool", labels=("state",))
        idle = gauges.sum("pool_idle")
        pool.add_metric(("idle",), idle)
        pool.add_metric(("used",), gauges.sum("pool_size") - idle)
        yield from (up, pool)
        most = gauges.sum("pool_max")
        yield GaugeMetricFamily("everthread_database_connections_max", "Most connections of the pool", most)

    def _sandboxes(self) -> Iterator[Metric]:
        sandboxes = GaugeMetricFamily("everthread_sandboxes", "Sandboxes of code_interpreter", labels=("state",))
        sandboxes.add_metric(("session",), self._gauges.sum("open_sessions"))
        sandboxes.add_metric(("warm",), self._gauges.sum("warm_sandboxes"))
        yield sandboxes
        lost = self._metrics.lost_sandboxes
        yield CounterMetricFamily("everthread_sandboxes_lost", "Sessions of code_interpreter lost", lost)

    def _process(self) -> Iterator[Metric]:
        yield CounterMetricFamily(_CPU, "CPU time of the processes", self._metrics.cpu_s)
        for name, text in _PROCESS_SUMS.items():
            if self._gauges.values(name):
                yield GaugeMetricFamily(name, text, self._gauges.sum(name))
        if starts := self._gauges.values(_START):
            yield GaugeMetricFamily(_START, "Start of the oldest process, in seconds since 1970", min(starts))


def render(metrics: Counters, gauges: Gauges) -> bytes:
    """Returns all metrics in Prometheus' text format, with the memory and CPU of the processes of this server."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(metrics, gauges))
    return generate_latest(registry)


def _buckets(histogram: Histogram) -> tuple[list[tuple[str, float]], float]:
    """Returns the cumulative counts by upper bound, and the sum of all values."""
    buckets: list[tuple[str, float]] = []
    below = 0
    for bound, count in zip(_BOUNDS, histogram.counts, strict=True):
        below += count
        buckets.append((bound, below))
    return buckets, histogram.total
