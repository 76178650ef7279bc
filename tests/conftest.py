"""A real Postgres for the whole session, a copied database for each test, and a whole server in the test's own loop."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from service.app import serve
from service.database import Pool, connect, migrate, open_pool
from service.embedded.postgres import EmbeddedPostgres
from service.sandbox.base import SandboxUnavailable
from service.sandbox.bubblewrap import Jail
from service.sandbox.probe import Confinement
from service.settings import Settings
from tests.client import KEY, Client
from tests.clock import WallClock
from tests.fake_search_engine import FakeSearchEngine
from tests.scripted import ScriptedServer

_numbers = itertools.count()

StartServer = Callable[..., AbstractAsyncContextManager[Client]]


def _named(url: str, database: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"/{database}"))


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a running Postgres whose database `template` is migrated."""
    with asyncio.Runner() as runner:
        home = Path(tmp_path_factory.mktemp("everthread"))
        for folder in (home, *home.parents[:2]):
            # pytest's folders are ours alone, and Postgres runs as an account of its own where we are root.
            if os.geteuid() == 0:
                folder.chmod(0o711)
        embedded = EmbeddedPostgres(home, durable=False)
        url = runner.run(embedded.start())
        runner.run(_make_template(url))
        yield url
        runner.run(embedded.stop())


async def _make_template(url: str) -> None:
    admin = await connect(url)
    await admin.execute("CREATE DATABASE template_everthread")
    await admin.close()
    template = await connect(_named(url, "template_everthread"))
    await migrate(template)
    await template.close()


@asynccontextmanager
async def copied_database(postgres: str) -> AsyncIterator[str]:
    """The URL of a migrated database of one's own, gone at the end."""
    name = f"test_{next(_numbers)}"
    admin = await connect(postgres)
    try:
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE template_everthread")
        yield _named(postgres, name)
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()


@pytest.fixture
async def database_url(postgres: str) -> AsyncIterator[str]:
    """A migrated database of the test's own."""
    async with copied_database(postgres) as url:
        yield url


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    made = await open_pool(database_url)
    yield made
    made.terminate()


@pytest.fixture
async def db(pool: Pool) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy[asyncpg.Record]]:
    async with pool.acquire() as connection:
        yield connection


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> WallClock:
    """The clock that everything in this process tells the time by."""
    return WallClock(monkeypatch)


@pytest.fixture
async def model() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as server:
        yield server


@pytest.fixture
def search_engine() -> FakeSearchEngine:
    """What indexes and searches for the servers of the test."""
    return FakeSearchEngine()


@pytest.fixture
def start_server(
    database_url: str, model: ScriptedServer, search_engine: FakeSearchEngine, tmp_path: Path
) -> StartServer:
    """Starts whole servers over the test's database and model; keyword arguments are settings.

    With `indexing` as in production files are parsed and embedded for real.
    """

    @asynccontextmanager
    async def start(*, indexing: bool = False, **settings: object) -> AsyncIterator[Client]:
        listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        # A sandbox takes a second of CPU to make: tests that want one turn it on.
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
    """What confines code here, tried. Where this machine forbids sandboxes, what needs one is skipped, but on CI."""
    try:
        return asyncio.run(Confinement().confined())
    except SandboxUnavailable as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no sandbox here: {error}")
