"""The processes that check batches of streams for a verification. They import only what that takes, once for all."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence

from service.audit.batch_check import STATEMENT_S, BatchResult, check_batch
from service.child_process import end_with_parent
from service.database import connect
from service.secrets.key_ring import RING


class _Worker:
    """The event loop and the connection of a process that checks batches."""

    def __init__(self, url: str) -> None:
        # A collection looks at all objects, of which most are code. A batch leaves few in cycles.
        gc.freeze()
        gc.disable()
        self._runner = asyncio.Runner()
        self._db = self._runner.run(connect(url, command_timeout_s=STATEMENT_S, is_lenient=True))

    def check(self, batch: Sequence[str]) -> BatchResult:
        result = self._runner.run(check_batch(self._db, batch))
        gc.collect()
        return result


_worker: _Worker | None = None


def open_worker(url: str, keys: Sequence[bytes]) -> None:
    """Connects this process to the database at `url`, whose key-encryption keys are `keys`."""
    global _worker
    RING.add(keys)
    end_with_parent()
    _worker = _Worker(url)


def check_in_worker(batch: Sequence[str]) -> BatchResult:
    """Checks the streams. Call `open_worker` before."""
    assert _worker is not None
    return _worker.check(batch)
