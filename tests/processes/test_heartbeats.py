"""Processes are frozen if their heartbeat stays the same, in enough checks and for long enough."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from service.processes import heartbeats
from service.processes.heartbeats import FROZEN_AFTER_S, FROZEN_CHECKS, Heartbeats

T0 = datetime(2026, 1, 1, tzinfo=UTC)


class Watch:
    """Checks heartbeats at times that the test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self._beat = T0
        self._heartbeats = Heartbeats()
        monkeypatch.setattr(heartbeats, "monotonic", lambda: self.now)

    def check(self, after_s: float, *, is_beating: bool) -> bool:
        """Returns whether process 1 is frozen, with a heartbeat that is new or the one of the last check."""
        self.now += after_s
        if is_beating:
            self._beat = T0 + timedelta(seconds=self.now)
        return self._heartbeats.check({1: self._beat, 2: None}) == {1}


def test_a_process_that_sends_nothing_is_frozen_until_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(monkeypatch)
    assert not watch.check(0.2, is_beating=True)
    found = [watch.check(0.2, is_beating=False) for _ in range(8)]
    assert found == [False] * 6 + [True] * 2, "within 2 s of its last heartbeat"
    assert not watch.check(0.2, is_beating=True)


def test_a_pause_of_the_checks_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checking process itself may have been frozen, or the database."""
    watch = Watch(monkeypatch)
    watch.check(0.2, is_beating=True)
    assert not watch.check(60.0, is_beating=False)
    assert not watch.check(0.2, is_beating=True)


def test_quick_checks_prove_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(monkeypatch)
    watch.check(0.2, is_beating=True)
    assert not any(watch.check(FROZEN_AFTER_S / 40, is_beating=False) for _ in range(FROZEN_CHECKS * 2))
