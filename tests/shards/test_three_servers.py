"""Three Postgres servers, with streams routed by the hash of their id: conformance, kills, and verification.

It is a faithful test of sharding, since no transaction crosses streams: docs/scaling.md, "Three servers".
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest

import service.database
from service.audit.verification import Scope, verify_installation
from service.database import connect
from service.embedded.postgres import EmbeddedPostgres
from service.storage.folder import FolderBlobs
from tests.client import KEY, Client
from tests.crash import test_kill
from tests.crash.conftest import Server, Start
from tests.fixtures.postgres import copied_database, make_template, postgres_folder
from tests.forked import ForkedServer
from tests.machine import unavailable
from tests.scripted import ScriptedServer
from tests.sdks.conformance.run import missing, report
from tests.shards.routed_connection import CrossingTransaction, route_connections, server_of
from tests.shards.tables import read_placements

pytestmark = pytest.mark.slow
SERVERS = 3


@pytest.fixture(scope="module")
def servers(postgres: str) -> Iterator[list[str]]:
    """The URLs of three servers: that of the session, and two more."""
    before = service.database._open_connection
    with postgres_folder() as folder, asyncio.Runner() as runner:
        more = [EmbeddedPostgres(folder / str(number), durable=False) for number in range(1, SERVERS)]

        async def start() -> list[str]:
            urls = await asyncio.gather(*(each.start() for each in more))
            await asyncio.gather(*map(make_template, urls))
            return urls

        yield [postgres, *runner.run(start())]
        service.database._open_connection = before
        for each in more:
            runner.run(each.stop())


@pytest.fixture
async def cluster(servers: list[str]) -> AsyncIterator[list[str]]:
    """The URLs of a migrated database of the test's own on each server. Connections to the first one are routed."""
    async with AsyncExitStack() as stack:
        urls = [await stack.enter_async_context(copied_database(url)) for url in servers]
        route_connections(urls)
        yield urls


@pytest.fixture
def start(cluster: list[str], model: ScriptedServer, tmp_path: Path) -> Start:
    """Starts server processes over the three servers; keyword arguments are settings."""

    @asynccontextmanager
    async def started(*, stderr: int = 2, **settings: Any) -> AsyncIterator[Server]:
        environment = {
            **os.environ,
            "EVERTHREAD_DATABASE_URL": cluster[0],
            "EVERTHREAD_DATA_DIR": str(tmp_path / "data"),
            "EVERTHREAD_API_KEY": KEY,
            "EVERTHREAD_MODEL_BASE_URL": model.base_url,
            "EVERTHREAD_CODE_INTERPRETER": "off",
            **{f"EVERTHREAD_{name.upper()}": str(value) for name, value in settings.items()},
        }
        prepare = partial(route_connections, cluster)
        async with ForkedServer(environment, stderr, prepare) as process, Client(process.base_url) as client:
            yield Server(process, client)

    return started


@pytest.fixture
async def database_url(cluster: list[str], tmp_path: Path) -> AsyncIterator[str]:
    """The URL of the first database. At the end of the test, all of them are verified."""
    yield cluster[0]
    await _verify(cluster, tmp_path / "data" / "blobs")


async def _verify(cluster: list[str], blobs: Path) -> None:
    """Asserts that nothing is wrong in any row, that streams are where they belong, and that copies are equal."""
    found = await verify_installation(cluster[0], FolderBlobs(blobs), Scope(processes=1), lambda _: None)
    assert found.faults == []
    assert found.total_streams > 0
    connections = [await asyncpg.connect(url) for url in cluster]
    try:
        for table, placed in read_placements().items():
            if placed.kind == "reference":
                copies = [await db.fetch(f"SELECT * FROM {table} ORDER BY 1") for db in connections]
                assert copies[1:] == copies[:1] * (SERVERS - 1), table
            if placed.kind == "distributed":
                for number, db in enumerate(connections):
                    keys = await db.fetch(f"SELECT DISTINCT {placed.column} FROM {table}")
                    assert {server_of(key, SERVERS) for (key,) in keys} <= {number}, table
        counts = [await db.fetchval("SELECT count(*) FROM streams") for db in connections]
        assert sum(counts) == found.total_streams
    finally:
        for db in connections:
            await db.close()


@pytest.mark.sdk
@pytest.mark.timeout(600)
@pytest.mark.parametrize("sdk", ["pypi-3.54.0", "npm-7.57.0"])
async def test_what_users_do(sdk: str, start: Start, model: ScriptedServer, database_url: str) -> None:
    if why := missing(sdk):
        unavailable(why)
    async with start() as server:
        wrong = await report(sdk, server.process.base_url, model)
    assert [one.line for one in wrong] == []


KILLS = (
    test_kill.test_killed_before_the_first_token,
    test_kill.test_killed_in_the_middle_of_an_answer,
    test_kill.test_killed_in_the_middle_of_a_webhook,
)


@pytest.mark.parametrize("kill", KILLS, ids=lambda kill: kill.__name__.removeprefix("test_"))
async def test_kills(kill: Any, start: Start, model: ScriptedServer, database_url: str) -> None:
    """The tests of tests/crash/test_kill.py, and a verification of each."""
    await kill(start, model)


async def test_a_transaction_of_two_servers_is_refused(cluster: list[str]) -> None:
    db = await connect(cluster[0])
    ids = [next(id for id in map(str, range(100)) if server_of(id, SERVERS) == number) for number in range(2)]
    insert = """
        INSERT INTO events (stream_id, version, type, at, project_id, actor, schema_version, software_version,
            algorithm, content, commitment, leaf)
        VALUES ($1, 1, 'x', now(), 'p', 'cli', 1, '', 2, '', '', '')
    """

    async def append_to_both() -> None:
        async with db.transaction():
            for id in ids:
                await db.execute(insert, id)

    with pytest.raises(CrossingTransaction):
        await append_to_both()
    assert await db.fetchval("SELECT count(*) FROM events") == 0
    await db.close()
