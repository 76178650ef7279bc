"""The bodies of all requests together.

The budget of bodies in flight bounds the bytes of request bodies that this process holds at once, in all and for each
key.

Bytes count when they arrive, not when they are announced, so that clients which announce much and send nothing take no
place. The first FREE bytes of a body are free: small requests go on while large ones fill the budget.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Literal, TypeVar

MIB = 1024 * 1024
MAX_IN_FLIGHT = 256 * MIB
# A key's share of it. No body is longer.
MAX_KEY_IN_FLIGHT = 128 * MIB
FREE = 64 * 1024

R = TypeVar("R")


class BudgetExceeded(Exception):
    """There is no room for the bytes. `owner` is the owner of the budget that is full."""

    def __init__(self, owner: Literal["server", "key"]) -> None:
        super().__init__(owner)
        self.owner = owner


class BodyBudget:
    """The bytes in flight in this process."""

    def __init__(self) -> None:
        self._by_key: Counter[str] = Counter()
        self.in_flight = 0

    def reserve(self, key_id: str) -> HeldBytes:
        """Returns the account of a body that begins to arrive. The caller must release it."""
        return HeldBytes(self, key_id)

    def take(self, key_id: str, size: int) -> None:
        """Raises BudgetExceeded if there is no room for `size` more bytes."""
        if self.in_flight + size > MAX_IN_FLIGHT:
            raise BudgetExceeded("server")
        if self._by_key[key_id] + size > MAX_KEY_IN_FLIGHT:
            raise BudgetExceeded("key")
        self.in_flight += size
        self._by_key[key_id] += size

    def give_back(self, key_id: str, size: int) -> None:
        self.in_flight -= size
        self._by_key[key_id] -= size
        if not self._by_key[key_id]:
            del self._by_key[key_id]


class HeldBytes:
    """The bytes of one body, from their arrival to the end of its request."""

    def __init__(self, budget: BodyBudget, key_id: str) -> None:
        self._budget = budget
        self._key_id = key_id
        self._size = 0
        self._counted = 0

    def add(self, size: int) -> None:
        """Raises BudgetExceeded if there is no room for `size` more bytes of the body."""
        self._size += size
        more = max(0, self._size - FREE) - self._counted
        if more > 0:
            self._budget.take(self._key_id, more)
            self._counted += more

    def release(self) -> None:
        """Gives the bytes back. Further calls do nothing."""
        self._budget.give_back(self._key_id, self._counted)
        self._counted = 0


class BodyReader:
    """The parts that the bodies of all requests share: their budget, and the thread that parses large ones."""

    def __init__(self) -> None:
        self.budget = BodyBudget()
        self._turn = asyncio.Lock()

    async def run(self, work: Callable[[], R]) -> R:
        """Returns the result of `work`, which runs in a thread.

        One runs at a time, so that the event loop waits for the interpreter's lock no longer than one of them keeps it.
        """
        async with self._turn:
            return await asyncio.to_thread(work)
