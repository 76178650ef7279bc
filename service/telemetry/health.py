"""The health of this process, part by part. Anybody may ask without a key, so answers are kept for a moment.

A part that answers slowly, such as a model server, does not hold up requests: while a round of checks is under way,
they get the answer of the round before.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import NamedTuple

import structlog

log = structlog.get_logger(__name__)

CACHE_S = 2.0
CHECK_TIMEOUT_S = 3.0
# Seconds for which a request waits for the round that it has started, if there is an answer of the round before.
PATIENCE_S = 0.02
# The age in seconds up to which that answer is given.
MAX_AGE_S = CACHE_S + CHECK_TIMEOUT_S

# Returns None if the part is well, else one line that says what is wrong.
Check = Callable[[], Awaitable[str | None]]


class PartHealth(NamedTuple):
    """The state of one part: `problem` is None if it is well.

    `required` says if the process needs the part, and `degrades` if a problem of it needs an operator although the
    process serves.
    """

    problem: str | None
    required: bool
    degrades: bool = False


class Health:
    """Checks all parts at the same time, one round after another, while `run` runs.

    The process can serve without `degrading` and `optional` parts.
    """

    def __init__(
        self,
        required: Mapping[str, Check],
        *,
        degrading: Mapping[str, Check] | None = None,
        optional: Mapping[str, Check] | None = None,
    ) -> None:
        self._required = frozenset(required)
        self._degrading = frozenset(degrading or ())
        self._checks = {**required, **(degrading or {}), **(optional or {})}
        self._parts: dict[str, PartHealth] = {}
        self._checked_at = -math.inf
        self._is_wanted = asyncio.Event()
        self._is_checking = False
        self._round_end = asyncio.Event()

    async def run(self) -> None:
        """Checks all parts when a request wants to know, until it is cancelled."""
        while True:
            await self._is_wanted.wait()
            self._is_wanted.clear()
            self._is_checking = True
            problems = await asyncio.gather(*(_run_check(check) for check in self._checks.values()))
            self._is_checking = False
            self._parts = {
                part: PartHealth(problem, part in self._required, part in self._degrading)
                for part, problem in zip(self._checks, problems, strict=True)
            }
            self._checked_at = time.monotonic()
            self._round_end.set()
            self._round_end = asyncio.Event()

    async def parts(self) -> Mapping[str, PartHealth]:
        """Returns the state of each part by its name, at most MAX_AGE_S seconds old. It needs `run`."""
        age = time.monotonic() - self._checked_at
        if age >= CACHE_S:
            round_end = self._round_end
            if not self._is_checking:
                self._is_wanted.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_S if age < MAX_AGE_S else None):
                    await round_end.wait()
        return self._parts


async def _run_check(check: Check) -> str | None:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            return await check()
    except TimeoutError:
        return f"does not answer within {CHECK_TIMEOUT_S:.0f} s"
    except Exception as error:
        log.exception("health_check_failed")
        return f"the check failed: {type(error).__name__}"
