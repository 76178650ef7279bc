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


class RandomIds(IdSource):
    """Ids from the system's source of randomness."""

    def draw(self, prefix: str) -> bytes:
        return os.urandom(64)
