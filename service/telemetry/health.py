"""The health of this process, part by part. Anybody may ask without a key, so answers are cached for a moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

CACHE_S = 2.0
CHECK_TIMEOUT_S = 3.0

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
    """Checks all parts at the same time, one round after another.

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
        self._until = 0.0
        self._lock = asyncio.Lock()

    async def parts(self) -> Mapping[str, PartHealth]:
        """Returns the state of each part by its name, at most CACHE_S seconds old."""
        async with self._lock:
            if time.monotonic() >= self._until:
                problems = await asyncio.gather(*(_run_check(check) for check in self._checks.values()))
                named = zip(self._checks, problems, strict=True)
                self._parts = {
                    part: PartHealth(problem, part in self._required, part in self._degrading)
                    for part, problem in named
                }
                self._until = time.monotonic() + CACHE_S
            return self._parts


async def _run_check(check: Check) -> str | None:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            return await check()
    except TimeoutError:
        return f"does not answer within {CHECK_TIMEOUT_S:.0f} s"
