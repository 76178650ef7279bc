"""When a failed attempt is made again, and how long it waits."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from math import isfinite

from service.model.base import ModelError

MAX_ATTEMPTS = 4  # of one call, the first among them
BACKOFF_S = 0.5  # before the second attempt; doubles
MAX_BACKOFF_S = 8.0
MAX_RETRY_AFTER_S = 60.0  # an upstream that wants longer is not waited for


class Failed(Exception):
    """An attempt failed. `again`: whether another may fare better; `after`: seconds the upstream asked for.

    `unheard`: the connection broke before any answer, perhaps because the server had closed it while it lay idle.
    """

    def __init__(self, error: ModelError, again: bool, after: float | None = None, unheard: bool = False) -> None:
        super().__init__(error.message)
        self.error = error
        self.again = again
        self.after = after
        self.unheard = unheard


def retry_after(headers: Mapping[str, str], now: Callable[[], datetime]) -> float | None:
    """Seconds from retry-after-ms or Retry-After, which is seconds or a date; None where there is nothing sensible."""
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        with suppress(ValueError, KeyError):
            seconds = float(headers[name]) / unit
            return max(0.0, seconds) if isfinite(seconds) else None
    with suppress(ValueError, KeyError, TypeError):
        return max(0.0, (parsedate_to_datetime(headers["retry-after"]) - now()).total_seconds())
    return None


def backoff(attempt: int) -> float:
    """Seconds after that many attempts, with jitter, so that callers who failed together do not come back together."""
    return min(MAX_BACKOFF_S, BACKOFF_S * 2.0 ** (attempt - 1)) * random.uniform(0.5, 1.0)
