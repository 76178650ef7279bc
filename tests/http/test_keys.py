"""API keys over HTTP: their scopes, and their revocation."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from projections import keys as view
from service.access.keys import CACHE_S, MAX_CACHED, Keys
from service.cli import admin
from service.database import Pool
from tests.client import KEY, Client
from tests.clock import CLOCK, IDS
from tests.conftest import StartServer
from tests.http.helpers import assistant_with, run_of
from tests.http.keys import as_key, make_key, writer
from tests.scripted import ScriptedServer, says


class Timer:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def actors(pool: Pool, stream_id: str) -> list[tuple[str, str]]:
    """Returns (actor, project) of each event."""
    rows = await pool.fetch("SELECT actor, project_id FROM events WHERE stream_id = $1 ORDER BY version", stream_id)
    return [(row["actor"], row["project_id"]) for row in rows]


async def last_used(pool: Pool) -> dict[str, datetime | None]:
    async with pool.acquire() as db:
        return {key.id: key.last_used_at async for key in view.list_keys(db)}


async def test_events_record_the_key_that_caused_them(client: Client, pool: Pool) -> None:
    project = await admin.create_project(writer(pool), "Research", ids=IDS)
    key_id, key = await make_key(pool, "Research")
    async with Client(client.base_url, key=key) as other:
        run = await run_of(other, "Hi")
        await other.settled(run)
        assert await actors(pool, run["assistant_id"]) == [(f"key:{key_id}", project)]
        found = await actors(pool, run["thread_id"])
        assert found[0] == (f"key:{key_id}", project)
        assert {project_id for _, project_id in found} == {project}
        assert {actor.split(":")[0] for actor, _ in found} == {"key", "process"}
    assistant = await assistant_with(client)
    assert await actors(pool, assistant["id"]) == [("key:default", "proj_default")]


@pytest.mark.slow
@pytest.mark.parametrize("scope", ["read", "audit:content"])
async def test_some_keys_only_read(client: Client, pool: Pool, scope: str) -> None:
    assistant = await assistant_with(client)
    path = f"/assistants/{assistant['id']}"
    async with await as_key(client, pool, scope=scope) as reader:
        assert await reader.get(path) == assistant
        for method, where in (("POST", "/assistants"), ("POST", path), ("DELETE", path), ("POST", "/chat/completions")):
            status, message, *rest = (await reader.call(method, where, {"model": "gpt-4o"})).error
            assert (status, rest) == (403, [None, None])
            assert f"the scope '{scope}'" in message
    assert await client.get(path) == assistant


@pytest.mark.slow
async def test_a_revoked_key_is_refused_within_a_second_by_every_server(start_server: StartServer, pool: Pool) -> None:
    key_id, key = await make_key(pool)
    async with start_server() as first, start_server() as second:
        others = [Client(first.base_url, key=key), Client(second.base_url, key=key)]
        for other in others:
            async with other:
                await other.get("/assistants")
        await admin.revoke_key(writer(pool), key_id)
        for other in others:
            async with other, asyncio.timeout(1.0):
                while (answer := await other.call("GET", "/assistants")).status == 200:
                    pass
            assert answer.error[0::3] == (401, "invalid_api_key")


async def test_a_key_is_kept_for_less_than_a_second(pool: Pool) -> None:
    timer = Timer()
    keys = Keys(pool, KEY, clock=CLOCK, timer=timer)
    key_id, key = await make_key(pool)
    assert await keys.find(key) is not None
    await admin.revoke_key(writer(pool), key_id)
    assert CACHE_S < 1
    timer.now += CACHE_S * 0.99
    assert await keys.find(key) is not None
    timer.now += CACHE_S * 0.02
    assert await keys.find(key) is None
    assert await keys.find("et-never") is None


async def test_the_cache_is_bounded_and_keeps_no_strangers(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_CACHED >= 1000
    monkeypatch.setattr("service.access.keys.MAX_CACHED", 3)
    keys = Keys(pool, KEY, clock=CLOCK, timer=Timer())
    for _ in range(5):
        assert await keys.find((await make_key(pool))[1]) is not None
        assert await keys.find("et-never") is None
        assert len(keys._cached) <= 3


async def test_a_key_that_was_found_needs_no_query(pool: Pool) -> None:
    timer = Timer()
    keys = Keys(pool, KEY, clock=CLOCK, timer=timer)
    _, key = await make_key(pool)
    assert keys.find_cached(key) is None
    found = await keys.find(key)
    assert found is not None
    assert keys.find_cached(key) == found
    timer.now += CACHE_S
    assert keys.find_cached(key) is None


async def test_the_servers_own_key_asks_no_database(pool: Pool) -> None:
    keys = Keys(pool, KEY, clock=CLOCK)
    await pool.close()
    found = await keys.find(KEY)
    assert found is not None
    assert (found.id, found.project_id, found.scope) == ("default", "proj_default", "admin")


async def test_last_uses_are_told_together_and_not_by_requests(pool: Pool) -> None:
    keys = Keys(pool, KEY, clock=CLOCK, timer=Timer())
    made = [await make_key(pool) for _ in range(3)]
    began = datetime.now(UTC)
    for _, key in made[:2]:
        for _ in range(10):
            await keys.find(key)
    assert set((await last_used(pool)).values()) == {None}
    await keys.write_last_uses()
    used = await last_used(pool)
    for key_id, _ in made[:2]:
        at = used[key_id]
        assert at is not None
        assert at >= began
    assert used[made[2][0]] is None
    written = await pool.fetch("SELECT xmin::text FROM key_uses")
    await keys.write_last_uses()
    assert await pool.fetch("SELECT xmin::text FROM key_uses") == written


async def test_last_uses_are_told_when_the_server_stops(start_server: StartServer, pool: Pool) -> None:
    key_id, key = await make_key(pool)
    async with start_server() as client, Client(client.base_url, key=key) as other:
        await other.get("/assistants")
    assert (await last_used(pool))[key_id] is not None


async def test_last_uses_wait_for_a_database_that_is_away(pool: Pool, database_url: str) -> None:
    key_id, key = await make_key(pool)
    keys = Keys(pool, KEY, clock=CLOCK, timer=Timer())
    await keys.find(key)
    away, keys._pool = keys._pool, _Away()  # type: ignore[assignment]
    await keys.write_last_uses()
    keys._pool = away
    await keys.write_last_uses()
    assert (await last_used(pool))[key_id] is not None


class _Away:
    def acquire(self) -> Any:
        raise ConnectionRefusedError


async def test_organization_and_project_are_echoed(client: Client, pool: Pool) -> None:
    project = await admin.create_project(writer(pool), "Research", ids=IDS)
    async with await as_key(client, pool, "Research") as other:
        named = {"OpenAI-Organization": "org-1", "OpenAI-Project": project}
        answer = await other.call("GET", "/assistants", headers=named)
        assert (answer.status, answer.headers["openai-organization"]) == (200, "org-1")
        assert answer.headers["openai-project"] == project
        for theirs in ("proj_default", "proj_of_the_original"):
            # Programs still name the project they had with the original; here the key alone decides the project.
            answer = await other.call("GET", "/assistants", headers={"OpenAI-Project": theirs})
            assert (answer.status, answer.headers["openai-project"]) == (200, theirs)
        for strange in ("ö", "x" * 257):
            answer = await other.call("GET", "/assistants", headers={"OpenAI-Organization": strange})
            assert answer.status == 200
            assert answer.headers["openai-organization"] == "everthread"
    streamed = {"model": "gpt-4o"}
    assistant = await client.post("/assistants", streamed)
    body = {
        "assistant_id": assistant["id"],
        "thread": {"messages": [{"role": "user", "content": "Hi"}]},
        "stream": True,
    }
    headers = {**client.headers, "OpenAI-Organization": "org-1"}
    async with client.session.post(client.base_url + "/threads/runs", json=body, headers=headers) as response:
        assert response.headers["openai-organization"] == "org-1"
        assert client.checked_frames(await response.read())[-1].event == "done"


@pytest.mark.slow
async def test_open_streams_end_with_their_key(start_server: StartServer, pool: Pool, model: ScriptedServer) -> None:
    """Revocation takes effect on every server within a second. The run continues, and streams of other keys too."""
    model.script(says("one two", pieces=["one", " two"]).waits("run", before=2), says("x y").waits("chat", before=2))
    key_id, key = await make_key(pool)
    async with start_server() as server, Client(server.base_url, key=key) as other:
        assistant = await assistant_with(other)
        body = {"assistant_id": assistant["id"], "thread": {"messages": [{"role": "user", "content": "Hi"}]}}
        stream = other.stream("/threads/runs", {**body, "stream": True})
        frames = [await anext(stream), await anext(stream)]
        await model.wait_for_gate("run")
        chat = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
        async with other.session.post(f"{other.base_url}/chat/completions", json=chat, headers=other.headers) as passed:
            await model.wait_for_gate("chat")
            await admin.revoke_key(writer(pool), key_id)
            frames += [frame async for frame in stream]
            with pytest.raises(aiohttp.ClientError):
                await passed.read()
        assert (frames[-1].event, frames[-1].data["error"]["code"]) == ("error", "invalid_api_key")
        model.open_gate("run")
        done = await server.settled(frames[1].data)
        assert done["status"] == "completed"


async def test_other_keys_streams_go_on(pool: Pool) -> None:
    """A database that is away for a moment ends no stream."""
    keys, ended = Keys(pool, KEY, clock=CLOCK), list[str]()
    (one, _), (two, two_key) = await make_key(pool), await make_key(pool)
    found = [await keys.by_id(one), await keys.find(two_key), await keys.find(KEY)]
    with ExitStack() as stack:
        for key in found:
            assert key is not None
            stack.enter_context(keys.watch_revocation(key, lambda id=key.id: ended.append(id)))  # type: ignore[misc]
        await keys.report_revocations([one, two])
        assert ended == []
        await admin.revoke_key(writer(pool), two)
        assert await keys.by_id(two) is None
        await keys.report_revocations([one, two])
        assert ended == [two]
    assert keys._watched == {}
