"""`kill -9` of a server during a request with an Idempotency-Key. The repeated request takes effect exactly once.

A trigger in Postgres holds the server at the moment of its death and ends its connection, so nothing uncommitted
remains.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import asyncpg
import pytest

from projections import webhooks
from service.database import Pool
from tests.client import Answer, Client
from tests.crash.conftest import Server, Start
from tests.http.files import form, send
from tests.http.helpers import assistant_with, thread_with
from tests.http.stores import thread_without_its_store
from tests.http.test_idempotency import HI, sent
from tests.scripted import ScriptedServer, says

pytestmark = pytest.mark.slow

LOCK = 42
# The places at which a server dies, and whether the request has taken effect by then.
MOMENTS = {
    "claiming its key": ("BEFORE INSERT ON idempotency_keys FOR EACH ROW", False),
    "in its append": ("BEFORE INSERT ON events FOR EACH ROW", False),
    "before its commit": ("AFTER INSERT ON idempotency_effects FOR EACH ROW", False),
    "before its answer is kept": (
        "BEFORE UPDATE ON idempotency_keys FOR EACH ROW WHEN (NEW.status IS NOT NULL)",
        True,
    ),
    "before its key is let go": ("BEFORE UPDATE ON idempotency_keys FOR EACH ROW WHEN (NEW.process IS NULL)", True),
    "between its two appends": ("BEFORE INSERT ON events FOR EACH ROW WHEN (NEW.type = 'upload.completed')", True),
    "between two to a thread": (
        "BEFORE INSERT ON events FOR EACH ROW WHEN (NEW.type IN ('message.added', 'run.created'))",
        True,
    ),
}
_STAND = f"""
CREATE FUNCTION stand() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_advisory_xact_lock({LOCK}); RETURN NEW; END $$
"""
_WAITING = f"""
SELECT pid FROM pg_locks
WHERE locktype = 'advisory' AND objid = {LOCK} AND NOT granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


@asynccontextmanager
async def dies(server: Server, url: str, trigger: str) -> AsyncIterator[None]:
    """Holds the request that starts in the context at the trigger, then kills the server and its connections."""
    db = await asyncpg.connect(url)
    try:
        await db.execute(_STAND)
        await db.execute(f"CREATE TRIGGER stand {trigger} EXECUTE FUNCTION stand()")
        await db.execute(f"SELECT pg_advisory_lock({LOCK})")
        yield
        async with asyncio.timeout(20):
            while not (waiting := await db.fetch(_WAITING)):
                await asyncio.sleep(0.01)
        await server.kill()
        for row in waiting:
            await db.execute("SELECT pg_terminate_backend($1, 5000)", row["pid"])
        await db.execute("DROP FUNCTION stand CASCADE")
    finally:
        await db.close()


async def killed(server: Server, url: str, moment: str, trying: Any) -> None:
    async with dies(server, url, MOMENTS[moment][0]):
        attempt = asyncio.create_task(trying)
    with suppress(aiohttp.ClientError):
        await attempt
        pytest.fail("an answer came")


async def _events(pool: Pool) -> list[tuple[str, str]]:
    query = "SELECT stream_id, type FROM events WHERE stream_id <> 'installation' ORDER BY stream_id, version"
    return [tuple(row) for row in await pool.fetch(query)]


@pytest.mark.parametrize("moment", [moment for moment in MOMENTS if "two" not in moment and "let go" not in moment])
async def test_a_thread_is_made_once(start: Start, database_url: str, pool: Pool, moment: str) -> None:
    body = {"messages": [HI], "metadata": {"k": "v"}}
    async with start() as server:
        await killed(server, database_url, moment, sent(server.client, "/threads", body))
    done = await _events(pool)
    assert bool(done) == MOMENTS[moment][1]
    async with start() as server:
        made, again = [await sent(server.client, "/threads", body) for _ in range(2)]
        assert (made.status, again.body) == (200, made.body)
        assert await _events(pool) == [(made.body["id"], "thread.created"), (made.body["id"], "message.added")]
        assert not done or await _events(pool) == done
        assert (await sent(server.client, "/threads", {})).error[3] == "idempotency_key_reused"


async def test_a_run_is_made_once(start: Start, database_url: str, pool: Pool, model: ScriptedServer) -> None:
    model.script(says("Fine"), says("Fine"))
    async with start() as server:
        assistant, thread = await assistant_with(server.client), await thread_with(server.client, "Hi")
        path, body = f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"]}
        await killed(server, database_url, "before its answer is kept", sent(server.client, path, body))
    async with start() as server:
        run = await sent(server.client, path, body)
        assert (run.status, run.body["status"]) == (200, "queued"), "as it was"
        assert (await server.client.settled(run.body))["status"] == "completed"
        assert [one["id"] for one in (await server.client.get(path))["data"]] == [run.body["id"]]
        assert (await sent(server.client, path, body)).body == run.body


@pytest.mark.parametrize("moment", ["between two to a thread", "before its answer is kept"])
@pytest.mark.parametrize("of", ["message", "run"])
async def test_what_brings_its_thread_a_store_is_done_once(
    start: Start, database_url: str, pool: Pool, model: ScriptedServer, of: str, moment: str
) -> None:
    """The store of the thread is deleted. An event names another store, then the message with the file follows."""
    model.script(says("Fine"), says("Fine"))
    async with start() as server:
        assistant = await assistant_with(server.client)
        thread, message = await thread_without_its_store(server.client)
        path = f"/threads/{thread['id']}"
        run = {"assistant_id": assistant["id"], "additional_messages": [message]}
        asked = (path + "/messages", message) if of == "message" else (path + "/runs", run)
        await killed(server, database_url, moment, sent(server.client, *asked))
    done = [type for stream, type in await _events(pool) if stream == thread["id"]]
    assert done[:2] == ["thread.created", "thread.modified"]
    assert (len(done) > 2) == (moment == "before its answer is kept")
    async with start() as server:
        made, again = [await sent(server.client, *asked) for _ in range(2)]
        assert (made.status, again.body) == (200, made.body)
        if of == "run":
            assert (await server.client.settled(made.body))["status"] == "completed"
            assert [one["id"] for one in (await server.client.get(path + "/runs"))["data"]] == [made.body["id"]]
        messages = (await server.client.get(path + "/messages"))["data"]
        assert [one["attachments"] for one in messages if one["role"] == "user"] == [message["attachments"]]
    types = [type for stream, type in await _events(pool) if stream == thread["id"]]
    assert [types.count(one) for one in ("thread.modified", "message.added")] == [1, 1]


@pytest.mark.parametrize("moment", ["between its two appends", "before its answer is kept"])
async def test_an_upload_is_completed_once(start: Start, database_url: str, pool: Pool, moment: str) -> None:
    async with start() as server:
        client = server.client
        about = {"filename": "a.txt", "purpose": "assistants", "bytes": 3, "mime_type": "text/plain"}
        path = f"/uploads/{(await client.post('/uploads', about))['id']}"
        part = (await send(client, form(b"abc", (), name="data"), path + "/parts")).body["id"]
        await killed(server, database_url, moment, sent(client, path + "/complete", {"part_ids": [part]}))
    async with start() as server:
        done = await sent(server.client, path + "/complete", {"part_ids": [part]})
        assert (done.status, done.body["status"]) == (200, "completed")
        assert [one["id"] for one in (await server.client.get("/files"))["data"]] == [done.body["file"]["id"]]


async def _file(client: Client) -> Answer:
    return await send(client, form(b"abc"), **{"Idempotency-Key": "k1"})


async def test_a_file_is_made_once(start: Start, database_url: str, pool: Pool) -> None:
    async with start() as server:
        await killed(server, database_url, "before its answer is kept", _file(server.client))
    async with start() as server:
        made = await _file(server.client)
        assert made.status == 200
        assert [one["id"] for one in (await server.client.get("/files"))["data"]] == [made.body["id"]]
        url = f"{server.client.base_url}/files/{made.body['id']}/content"
        async with server.client.session.get(url, headers=server.client.headers) as response:
            assert await response.read() == b"abc"


@pytest.mark.parametrize("moment", ["in its append", "before its key is let go"])
async def test_a_webhook_endpoint_is_made_once(start: Start, database_url: str, pool: Pool, moment: str) -> None:
    body = {"url": "https://example.com/"}
    async with start() as server:
        await killed(server, database_url, moment, sent(server.client, "/webhook_endpoints", body))
    async with pool.acquire() as db:
        secrets = await webhooks.load_secrets(db, await db.fetchval("SELECT endpoint_id FROM webhook_work"))
    assert secrets is not None
    async with start() as server:
        made = await sent(server.client, "/webhook_endpoints", body)
        assert (made.status, made.body["secret"]) == (200, secrets.secret)
        assert [one["id"] for one in (await server.client.get("/webhook_endpoints"))["data"]] == [made.body["id"]]
