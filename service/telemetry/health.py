"""Whether this process can serve. Asked without a key, as often as anybody likes: so an answer is kept a while."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

# Seconds that an answer is kept, and that a part may take to give one.
KEPT = 2.0
PATIENCE = 3.0

Ask = Callable[[], Awaitable[str | None]]


class Said(NamedTuple):
    """What a part said, and whether this process needs it."""

    wrong: str | None
    needed: bool


class Health:
    """Asks all parts at once, one round at a time; a part answers None where it is well, else one line.

    This process can serve without the parts that `may_fail`.
    """

    def __init__(self, parts: Mapping[str, Ask], may_fail: Mapping[str, Ask] | None = None) -> None:
        self._needed = frozenset(parts)
        self._parts = {**parts, **(may_fail or {})}
        self._answer: dict[str, Said] = {}
        self._until = 0.0
        self._asking = asyncio.Lock()

    async def parts(self) -> Mapping[str, Said]:
        """What each part says, not older than KEPT."""
        async with self._asking:
            if time.monotonic() >= self._until:
                said = await asyncio.gather(*(_within(ask) for ask in self._parts.values()))
                heard = zip(self._parts, said, strict=True)
                self._answer = {part: Said(wrong, part in self._needed) for part, wrong in heard}
                self._until = time.monotonic() + KEPT
            return self._answer


async def _within(ask: Ask) -> str | None:
    try:
        async with asyncio.timeout(PATIENCE):
            return await ask()
    except TimeoutError:
        return f"does not answer within {PATIENCE:.0f} s"
