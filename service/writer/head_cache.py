"""The heads of streams that this process has appended to or read last, so that an append needs no read.

A cached head may be older than the stream: another process has appended. The append that expects it then conflicts, and
what was decided on it must not be believed without an append (`service.writer`).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any

from events.event_log import Head

# Bytes of all cached heads together, by an estimate: the JSON of a state, and the objects that hold it.
MAX_BYTES = 32 * 1024**2
# Estimate of the memory of a head without its state, and of a byte of the state's JSON as objects.
_HEAD_BYTES = 1_500
_STATE_FACTOR = 6


@dataclass(frozen=True, slots=True)
class KnownHead:
    """A head with its folded state. The head's own bytes of the state are empty."""

    head: Head
    state: Any


class HeadCache:
    """A bounded cache by stream id. If it is full, the head that was not used for longest is dropped."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.bytes = 0
        self._max_bytes = max_bytes
        self._heads: OrderedDict[str, tuple[int, KnownHead]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._heads)

    def take(self, stream_id: str) -> KnownHead | None:
        """Removes and returns the head of a stream. Its user puts back the head that it knows to be the latest."""
        size, known = self._heads.pop(stream_id, (0, None))
        self.bytes -= size
        return known

    def put(self, stream_id: str, head: Head, state: Any) -> None:
        """Adds the head of a stream that exists. The absence of a stream is never cached."""
        if head.version == 0:
            return
        self.take(stream_id)
        size = _HEAD_BYTES + _STATE_FACTOR * len(head.state)
        self._heads[stream_id] = size, KnownHead(replace(head, state=b""), state)
        self.bytes += size
        while self.bytes > self._max_bytes:
            _, (dropped, _) = self._heads.popitem(last=False)
            self.bytes -= dropped
