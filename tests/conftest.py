"""A whole server in the test's own event loop, and its surroundings. The databases are in
tests/fixtures/postgres.py.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from service.app import serve
from service.runs import claim, supervisor
from service.sandbox.base import SandboxUnavailable
from service.sandbox.bubblewrap import Jail
from service.sandbox.probe import SandboxProbe
from service.settings import Settings
from tests.client import KEY, Client
from tests.clock import WallClock
from tests.fake_search_engine import FakeSearchEngine
from tests.machine import ON_CI, unavailable
from tests.scripted import ScriptedServer

pytest_plugins = ["tests.fixtures.groups", "tests.fixtures.postgres", "tests.fixtures.setup_steps"]

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
    monkeypatch.setattr(claim, "LOOK_EVERY", 0.05)
    monkeypatch.setattr(supervisor, "SCAN_EVERY_S", 0.05)


@pytest.fixture
async def model() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as server:
        yield server


@pytest.fixture
def search_engine() -> FakeSearchEngine:
    """The fake that indexes and searches for the servers of the test."""
    return FakeSearchEngine()


@pytest.fixture
def start_server(
    database_url: str, model: ScriptedServer, search_engine: FakeSearchEngine, tmp_path: Path, wall: WallClock
) -> StartServer:
    """Starts whole servers over the test's database and model. Keyword arguments are settings.

    With `indexing`, files are parsed and embedded for real, as in production.
    """

    @asynccontextmanager
    async def start(*, indexing: bool = False, **settings: object) -> AsyncIterator[Client]:
        listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        # A sandbox takes a second of CPU to make, so only tests that need one turn it on.
        defaults = {"port": 0, "models": None, "data_dir": tmp_path, "code_interpreter": "off"}
        made = Settings.load(**{**defaults, **settings})
        task = asyncio.create_task(
            serve(
                made,
                database_url=database_url,
                api_key=KEY,
                model_base_url=model.base_url,
                model_api_key="model-key",
                embedded_model=False,
                ready=listening.set_result,
                search_engine=None if indexing else search_engine,
                clock=wall,
            )
        )
        either: set[asyncio.Future[Any]] = {task, listening}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
        try:
            async with Client(await listening) as client:
                yield client
        finally:
            task.cancel()
            await asyncio.wait({task})

    return start


@pytest.fixture
async def client(start_server: Callable[[], AbstractAsyncContextManager[Client]]) -> AsyncIterator[Client]:
    """A client of a whole server."""
    async with start_server() as one:
        yield one


@pytest.fixture(scope="session")
def jail() -> Jail:
    """The tried means of confinement here. A test that uses it gets the marker `sandbox`."""
    try:
        return asyncio.run(SandboxProbe().jail())
    except SandboxUnavailable as error:
        unavailable(f"there is no sandbox here: {error}")


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of Debian's Chromium. Tests that use it need the marker `browser`."""
    return shutil.which("chromium") or unavailable("there is no chromium here")
