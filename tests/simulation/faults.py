"""The network of a simulated process, which delays messages and breaks at the appends that a fault names."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from random import Random

import asyncpg

from tests.simulation.connection import Network, SimulatedConnection, Statement
from tests.simulation.scenario import FaultKind

# Seconds that a message takes, and that one in RARE takes.
DELAY_S = 0.002
LONG_DELAY_S = 0.08
RARE = 0.03


def connection_lost() -> Exception:
    """Returns the error that asyncpg raises if the connection ends while a statement is on its way."""
    return asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")


class FaultyNetwork(Network):
    """The network of one process. `crash` ends the process at once."""

    def __init__(self, random: Random, context: Context, crash: Callable[[], None]) -> None:
        self.random = random
        self.context = context
        self.copies_of_wakeups = 1
        self.is_database_frozen = False
        self.appends = 0
        self._crash = crash
        # The faults by the number of the append at which they happen.
        self._due: dict[int, FaultKind] = {}

    def plan(self, kind: FaultKind, count: int) -> None:
        """Lets a fault happen at the `count`th append from now on."""
        self._due[self.appends + count] = kind

    def delay_s(self) -> float:
        drawn = self.random.random()
        return LONG_DELAY_S * self.random.random() if drawn < RARE else drawn * DELAY_S

    def is_hanging(self) -> bool:
        return self.is_database_frozen

    def copies(self) -> int:
        return self.copies_of_wakeups

    def before(self, connection: SimulatedConnection, statement: Statement) -> None:
        if not statement.is_append:
            return
        self.appends += 1
        match self._due.get(self.appends):
            case "crash_before_append":
                self._crash()
            case "lose_append":
                connection.break_off(connection_lost())
            case _:
                pass

    def after(self, connection: SimulatedConnection, statement: Statement) -> None:
        if not statement.is_append:
            return
        match self._due.get(self.appends):
            case "crash_after_append":
                self._crash()
            case "lose_answer":
                connection.break_off(connection_lost())
            case _:
                pass
