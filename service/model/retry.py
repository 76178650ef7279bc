"""Retries of failed attempts, and the waits before them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from math import isfinite

from service.model.base import ModelError
from service.model.refusals import NO_REFUSAL, Refusal

MAX_ATTEMPTS = 4  # of one call, including the first
BACKOFF_S = 0.5  # before the second attempt; doubles with each further attempt
MAX_BACKOFF_S = 8.0
MAX_RETRY_AFTER_S = 60.0  # if an upstream asks for a longer wait, the call fails


class AttemptFailure(Exception):
    """An attempt failed.

    `can_retry` says whether another attempt may succeed, and `after` is the wait in seconds that the upstream asked
    for. `is_unanswered`: the connection broke before any answer, perhaps because the server had closed it while it was
    idle. `refusal` names the fields that the upstream refused.
    """

    def __init__(
        self,
        error: ModelError,
        *,
        can_retry: bool,
        after: float | None = None,
        is_unanswered: bool = False,
        refusal: Refusal = NO_REFUSAL,
    ) -> None:
        super().__init__(error.message)
        self.error = error
        self.can_retry = can_retry
        self.after = after
        self.is_unanswered = is_unanswered
        self.refusal = refusal


def retry_after(headers: Mapping[str, str], now: Callable[[], datetime]) -> float | None:
    """Returns the seconds in retry-after-ms or Retry-After (seconds or a date), or None if there is no valid value."""
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        with suppress(ValueError, KeyError):
            seconds = float(headers[name]) / unit
            return max(0.0, seconds) if isfinite(seconds) else None
    with suppress(ValueError, KeyError, TypeError):
        return max(0.0, (parsedate_to_datetime(headers["retry-after"]) - now()).total_seconds())
    return None


def backoff(attempt: int) -> float:
    """Returns the wait in seconds after so many attempts, with jitter, so that concurrent callers spread out."""
    return min(MAX_BACKOFF_S, BACKOFF_S * 2.0 ** (attempt - 1)) * random.uniform(0.5, 1.0)
