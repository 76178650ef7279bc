"""The heads of streams that this process has appended to or read last, so that an append needs no read.

A cached head may be older than the stream: another process has appended. The append that expects it then conflicts, and
what was decided on it must not be believed without an append (`service.writer`).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any

from events.event_log import Head
from events.streams import StreamType

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
    """A bounded cache by type and id of a stream. If it is full, the head that was not used for longest is dropped."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.bytes = 0
        self._max_bytes = max_bytes
        self._heads: OrderedDict[tuple[str, str], tuple[int, KnownHead]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._heads)

    def take(self, stream_type: StreamType[Any, Any], stream_id: str, project_id: str) -> KnownHead | None:
        """Removes and returns the head of a stream. Its user puts back the head that it knows to be the latest.

        A head of another project is not returned and stays.
        """
        key = (stream_type.name, stream_id)
        found = self._heads.get(key)
        if found is None or found[1].head.project_id != project_id:
            return None
        self._drop(key)
        return found[1]

    def put(self, stream_type: StreamType[Any, Any], stream_id: str, head: Head, state: Any) -> None:
        """Adds the head of a stream that exists. The absence of a stream is never cached."""
        if head.version == 0:
            return
        key = (stream_type.name, stream_id)
        self._drop(key)
        size = _HEAD_BYTES + _STATE_FACTOR * len(head.state)
        self._heads[key] = size, KnownHead(replace(head, state=b""), state)
        self.bytes += size
        while self.bytes > self._max_bytes:
            self._drop(next(iter(self._heads)))

    def _drop(self, key: tuple[str, str]) -> None:
        size, _ = self._heads.pop(key, (0, None))
        self.bytes -= size
