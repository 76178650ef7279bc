"""Fixtures of many tests. Databases and servers are in tests/fixtures/."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import hypothesis
import pytest

from service.runs import claim, supervisor
from service.sandbox.base import SandboxUnavailable
from service.sandbox.bubblewrap import SandboxLauncher
from service.sandbox.probe import SandboxProbe
from tests.client import Client
from tests.clock import WallClock
from tests.fake_search_engine import FakeSearchEngine
from tests.machine import ON_CI, unavailable
from tests.scripted import ScriptedServer

pytest_plugins = [
    "tests.fixtures.groups",
    "tests.fixtures.postgres",
    "tests.fixtures.server",
    "tests.fixtures.setup_steps",
]

# A busy machine may take long for an example, and no test here is about its own time.
hypothesis.settings.register_profile("everthread", deadline=None)
hypothesis.settings.load_profile("everthread")

StartServer = Callable[..., AbstractAsyncContextManager[Client]]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if ON_CI:
        skipped = terminalreporter.stats.get("skipped", [])
        terminalreporter.write_line(f"{len(skipped)} tests were skipped (none are expected on CI)")


@pytest.fixture
def wall() -> WallClock:
    """The clock of the servers that the test starts."""
    return WallClock()


@pytest.fixture
def frequent_scans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes supervisors and executors compare the clock with deadlines every 50 ms, since no timer follows `wall`."""
    monkeypatch.setattr(claim, "CHECK_EVERY_S", 0.05)
    monkeypatch.setattr(supervisor, "SCAN_EVERY_S", 0.05)


@pytest.fixture
async def model() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as server:
        yield server


@pytest.fixture
def search_engine() -> FakeSearchEngine:
    """The fake that indexes and searches for the servers of the test."""
    return FakeSearchEngine()


@pytest.fixture(scope="session")
def launcher() -> SandboxLauncher:
    """The tried means of confinement here. A test that uses it gets the marker `sandbox`."""
    try:
        return asyncio.run(SandboxProbe().launcher())
    except SandboxUnavailable as error:
        unavailable(f"there is no sandbox here: {error}")


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of Debian's Chromium. Tests that use it need the marker `browser`."""
    return shutil.which("chromium") or unavailable("there is no chromium here")
