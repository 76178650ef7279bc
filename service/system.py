"""The clock and the ids of a running program. Everything else gets its times and ids from what it is given.

Only programs (`service.app`, `service.cli`) construct these; tests pass clocks that they move by hand.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime

from events.clock import Clock
from events.ids import IdSource


class SystemClock(Clock):
    """The clock of this machine."""

    def now(self) -> datetime:
        return datetime.now(UTC)


# Random bytes of ids, which are read from the system for 64 ids at once. Pops are atomic, so threads share them.
_ID_BYTES = 64
_READ_BYTES = 64 * _ID_BYTES
_unused: list[bytes] = []
# A forked process must not give the ids that its parent will give.
os.register_at_fork(after_in_child=_unused.clear)


class RandomIds(IdSource):
    """Ids from the system's source of randomness."""

    def draw(self, prefix: str) -> bytes:
        while True:
            try:
                return _unused.pop()
            except IndexError:
                read = os.urandom(_READ_BYTES)
                _unused.extend([read[at : at + _ID_BYTES] for at in range(0, _READ_BYTES, _ID_BYTES)])
