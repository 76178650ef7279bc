"""The clock that the core takes its times from. Only the service has one that runs (`service.system`)."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """A source of times. Durations are not measured with it: `time.monotonic` does that."""

    def now(self) -> datetime:
        """Returns the current time in UTC, with microseconds."""
