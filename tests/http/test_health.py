"""The rounds of checks behind GET /healthz."""

from __future__ import annotations

import asyncio

import pytest

from service.tasks.background import background
from service.telemetry import health
from service.telemetry.health import Health


class SlowPart:
    """A part whose check waits while `gate` is closed, and reports `problem`."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.problem: str | None = None
        self.checks = 0

    async def check(self) -> str | None:
        self.checks += 1
        await self.gate.wait()
        return self.problem


async def test_a_slow_check_holds_up_no_answer_but_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "CACHE_S", 0.0)
    part = SlowPart()
    checked = Health({"model": part.check})
    async with background(checked.run()):
        assert (await checked.parts())["model"].problem is None
        part.gate.clear()
        part.problem = "it is slow"
        for _ in range(3):
            assert (await checked.parts())["model"].problem is None
        assert part.checks == 2, "a round is under way"
        part.gate.set()
        monkeypatch.setattr(health, "PATIENCE_S", 60.0)
        assert (await checked.parts())["model"].problem == "it is slow"


async def test_an_old_answer_is_not_given_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "CACHE_S", 0.0)
    monkeypatch.setattr(health, "MAX_AGE_S", 0.0)
    part = SlowPart()
    checked = Health({"model": part.check})
    async with background(checked.run()):
        await checked.parts()
        part.problem = "it is slow"
        part.gate.clear()
        waiting = asyncio.create_task(checked.parts())
        await asyncio.sleep(0)
        part.gate.set()
        assert (await waiting)["model"].problem == "it is slow"


async def test_a_check_that_never_ends_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "CHECK_TIMEOUT_S", 0.01)
    part = SlowPart()
    part.gate.clear()
    checked = Health({"model": part.check})
    async with background(checked.run()):
        assert "does not answer within" in ((await checked.parts())["model"].problem or "")


async def test_a_check_that_raises_is_a_problem_and_no_end_of_the_server() -> None:
    async def check() -> str | None:
        raise ValueError("a secret")

    checked = Health({"model": check})
    async with background(checked.run()):
        assert (await checked.parts())["model"].problem == "the check failed: ValueError"
