"""GETs that read from a streaming replica of the database: docs/scaling.md, "Reads from a replica"."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from events.envelope import Origin
from events.thread.commands import ModifyThread
from service.database import open_pool, open_replica
from service.writer import Writer
from tests.client import WAIT_S, Answer, Client
from tests.clock import WallClock
from tests.fake_search_engine import FakeSearchEngine
from tests.fixtures.postgres import postgres_folder
from tests.fixtures.replica import Replica, replicated_postgres
from tests.fixtures.server import serving
from tests.projections.helpers import ORIGIN, make_thread, writer
from tests.scripted import ScriptedServer, says

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]
MAX_LAG_S = 3.0


@dataclass(frozen=True, slots=True)
class Site:
    """A server that reads from a replica, and the writer of another process on the same database."""

    client: Client
    replica: Replica
    elsewhere: Writer
    model: ScriptedServer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    home = Path(tmp_path_factory.mktemp("server"))
    with postgres_folder() as folder:
        async with replicated_postgres(folder) as (url, replica), ScriptedServer() as model:
            settings: dict[str, Any] = {"read_url": replica.url, "read_max_lag_s": MAX_LAG_S}
            pool = await open_pool(url)
            async with serving(
                url, model, home, search_engine=FakeSearchEngine(), clock=WallClock(), **settings
            ) as client:
                yield Site(client, replica, writer(pool, WallClock()), model)
            pool.terminate()


def _is_of_replica(answer: Answer) -> bool:
    return answer.headers.get("Everthread-Read") == "replica"


async def _until(client: Client, path: str, *, replica: bool) -> Answer:
    """Reads until the answer comes from the replica, or from the primary."""
    async with asyncio.timeout(WAIT_S):
        while _is_of_replica(answer := await client.call("GET", path)) is not replica:
            assert answer.status == 200
        return answer


async def _thread(site: Site) -> Any:
    """Makes a thread that the replica has."""
    thread = await site.client.post("/threads", {"metadata": {"n": "1"}})
    await _until(site.client, f"/threads/{thread['id']}", replica=True)
    return thread


async def _modify_elsewhere(site: Site, thread_id: str, value: str) -> None:
    await site.elsewhere.thread(await _origin(site, thread_id), thread_id, ModifyThread({"metadata": {"n": value}}))


async def _origin(site: Site, thread_id: str) -> Origin:
    """Returns an origin of the thread's project."""
    query = "SELECT project_id FROM streams WHERE stream_id = $1"
    return replace(ORIGIN, project_id=await site.elsewhere.pool.fetchval(query, thread_id))


async def test_objects_and_lists_come_from_the_replica(site: Site) -> None:
    thread = await _thread(site)
    path = f"/threads/{thread['id']}"
    for each in (path, "/threads", f"{path}/messages", f"{path}/runs", "/assistants", "/vector_stores"):
        assert (await _until(site.client, each, replica=True)).status == 200


async def test_a_header_asks_for_the_primary(site: Site) -> None:
    path = f"/threads/{(await _thread(site))['id']}"
    assert not _is_of_replica(await site.client.call("GET", path, headers={"Everthread-Read": "primary"}))
    refused = await site.client.call("GET", path, headers={"Everthread-Read": "somewhere"})
    assert refused.status == 400
    assert "Supported values are: 'primary', 'any'" in refused.body["error"]["message"]


async def test_a_client_sees_its_own_writes(site: Site) -> None:
    path = f"/threads/{(await _thread(site))['id']}"
    async with site.replica.paused():
        await site.client.post(path, {"metadata": {"n": "2"}})
        answer = await site.client.call("GET", path)
        assert (answer.body["metadata"], _is_of_replica(answer)) == ({"n": "2"}, False)
    assert (await _until(site.client, path, replica=True)).body["metadata"] == {"n": "2"}


async def test_the_end_of_a_run_is_never_older_than_its_stream(site: Site) -> None:
    """No request follows the append of the run's end, but the process has made it."""
    site.model.script(says("Whole"))
    thread, assistant = await _thread(site), await site.client.post("/assistants", {"model": "m"})
    await site.client.post(f"/threads/{thread['id']}/messages", {"role": "user", "content": "Hi"})
    async with site.replica.paused():
        body = {"assistant_id": assistant["id"], "stream": True}
        frames = [frame async for frame in site.client.stream(f"/threads/{thread['id']}/runs", body)]
        run = next(frame.data for frame in frames if frame.event == "thread.run.completed")
        found = await site.client.get(f"/threads/{thread['id']}/runs/{run['id']}")
        assert (found["status"], found["usage"]) == (run["status"], run["usage"])


async def test_a_replica_that_lags_is_read_within_the_bound(site: Site) -> None:
    thread = await _thread(site)
    path = f"/threads/{thread['id']}"
    async with site.replica.paused():
        await _modify_elsewhere(site, thread["id"], "2")
        old = await site.client.call("GET", path)
        if _is_of_replica(old):  # else this machine took longer than the bound
            assert old.body["metadata"] == {"n": "1"}
        new = await _until(site.client, path, replica=False)
        assert new.body["metadata"] == {"n": "2"}
    assert (await _until(site.client, path, replica=True)).body["metadata"] == {"n": "2"}


async def test_an_object_that_the_replica_lacks_comes_from_the_primary(site: Site) -> None:
    origin = await _origin(site, (await _thread(site))["id"])
    async with site.replica.paused():
        await make_thread(site.elsewhere, "thread_elsewhere", "one", origin=origin)
        answer = await site.client.call("GET", "/threads/thread_elsewhere")
        assert (answer.status, _is_of_replica(answer)) == (200, False)


async def test_a_replica_that_is_away_is_not_missed(site: Site) -> None:
    path = f"/threads/{(await _thread(site))['id']}"
    await site.replica.stop()
    for _ in range(5):
        answer = await site.client.call("GET", path)
        assert (answer.status, _is_of_replica(answer)) == (200, False)
    await site.replica.start()
    assert (await _until(site.client, path, replica=True)).status == 200


async def test_a_replica_of_an_older_epoch_is_not_read(site: Site) -> None:
    """As one of the primary from before a restore, which is ahead of the restored one by its own log."""
    primary = site.elsewhere.pool
    insert = "INSERT INTO log_epochs SELECT epoch + 1, origin || 'x', first_index FROM log_epochs"
    async with open_replica(site.replica.url, primary, max_lag_s=600) as reads, asyncio.timeout(WAIT_S):
        while not reads.can_serve("proj_default"):
            await asyncio.sleep(0)
        async with site.replica.paused():
            await primary.execute(insert)
            while reads.can_serve("proj_default"):
                await asyncio.sleep(0)
        while not reads.can_serve("proj_default"):
            await asyncio.sleep(0)


async def test_a_replica_that_was_promoted_is_read_no_more(site: Site, tmp_path: Path) -> None:
    """It comes last: the replica stays a primary of its own, of which a replica of the older primary is none."""
    thread = await _thread(site)
    path = f"/threads/{thread['id']}"
    async with site.replica.second(tmp_path) as second:
        await site.replica.execute("SELECT pg_promote()")
        promoted = await open_pool(site.replica.url)
        with capture_logs() as logs:
            async with open_replica(second.url, promoted, max_lag_s=600) as reads, asyncio.timeout(WAIT_S):
                while not any("timeline" in entry.get("reason", "") for entry in logs):
                    await asyncio.sleep(0)
                assert not reads.can_serve("proj_default")
        promoted.terminate()
    await _until(site.client, path, replica=False)
    await site.replica.execute("UPDATE threads SET project_id = 'another'")
    for _ in range(5):
        answer = await site.client.call("GET", path)
        assert (answer.status, _is_of_replica(answer)) == (200, False)
