"""The numbers of this process that `/metrics` shows, as the other workers get them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from service.access.stream_limits import StreamLimits
from service.audit.sequencer import Sequencer
from service.database import Pool
from service.telemetry.metrics import Metrics, SandboxCounts
from service.telemetry.process_gauges import read_process_gauges
from service.workers.membership import Snapshot


def snapshot_source(
    metrics: Metrics,
    pool: Pool,
    *,
    sandboxes: SandboxCounts,
    streams: StreamLimits,
    audit_log: Sequencer,
    run_checks: Mapping[str, int],
) -> Callable[[], Snapshot]:
    """Returns a function that takes a snapshot of the numbers of these parts."""

    def take() -> Snapshot:
        metrics.lost_sandboxes = sandboxes.lost_sessions
        metrics.run_checks.update(run_checks)
        metrics.cpu_s = time.process_time()
        gauges = {
            "pool_size": pool.size,
            "pool_idle": pool.idle_size,
            "pool_max": pool.max_size,
            "open_sessions": sandboxes.open_sessions,
            "warm_sandboxes": sandboxes.warm_sandboxes,
            "streams": streams.count,
            "log_lag_s": audit_log.lag_s,
            **read_process_gauges(),
        }
        return Snapshot(metrics.to_counts(), gauges)

    return take
