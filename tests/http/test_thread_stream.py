"""Tokens for the streams of a thread, and the stream that they open, used as EventSource does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
import pytest
import structlog

from projections.keys import ApiKey
from service.access import signed_tokens
from service.access.keys import Keys
from service.access.signed_tokens import Signer
from service.cli import admin
from service.database import Pool
from tests.client import KEY, V1, Answer, Client
from tests.clock import CLOCK, IDS
from tests.conftest import StartServer
from tests.http.helpers import assistant_with, thread_with
from tests.http.keys import as_key, make_key, writer
from tests.scripted import ScriptedServer, calls, says
from tests.wire.validation import problems_of_answer, problems_of_frame

WEATHER = {"type": "function", "function": {"name": "weather"}}
Frame = tuple[str | None, str, Any]


class Source:
    """Reads a stream as EventSource does: with no headers but Last-Event-ID."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self._buffer = b""
        self._versions = ["v1", "v2"]

    async def frame(self) -> Frame | None:
        """Returns the next (id, event, data), or None at the end."""
        while True:
            raw, end, rest = self._buffer.partition(b"\n\n")
            if not end:
                more = await self.response.content.readany()
                if not more:
                    return None
                self._buffer += more
                continue
            self._buffer = rest
            fields = dict(line.split(": ", 1) for line in raw.decode().split("\n"))
            if "event" in fields:
                data = fields["data"] if fields["data"] == "[DONE]" else orjson.loads(fields["data"])
                # The token fixes the version of the stream when it is created, so every frame has that version.
                self._versions = [one for one in self._versions if not problems_of_frame(one, fields["event"], data)]
                assert self._versions, fields
                return fields.get("id"), fields["event"], data

    async def until(self, event: str) -> list[Frame]:
        found: list[Frame] = []
        while not found or found[-1][1] != event:
            frame = await self.frame()
            assert frame is not None, found
            found.append(frame)
        return found

    async def rest(self) -> list[Frame]:
        return [frame async for frame in self._rest()]

    async def _rest(self) -> AsyncIterator[Frame]:
        while (frame := await self.frame()) is not None:
            yield frame


@asynccontextmanager
async def source(url: str, last: str | None = None) -> AsyncIterator[Source]:
    headers = {"Last-Event-ID": last} if last else {}
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url, headers=headers) as response:
        assert response.status == 200, await response.text()
        yield Source(response)


async def refused(url: str, **headers: str) -> Answer:
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as response:
        answer = Answer(response.status, orjson.loads(await response.read()), response.headers)
    assert problems_of_answer("v2", "GET", url, answer.status, answer.body) == []
    return answer


async def token_for(client: Client, thread: Any, **body: int) -> Any:
    return await client.post(f"/threads/{thread['id']}/stream_tokens", body or None)


def text_of(frames: list[Frame]) -> str:
    deltas = [data["delta"]["content"][0] for _, event, data in frames if event == "thread.message.delta"]
    return "".join(delta["text"]["value"] for delta in deltas)


def names(frames: list[Frame]) -> list[str]:
    return [event.removeprefix("thread.") for _, event, _ in frames if not event.endswith("delta")]


async def test_it_shows_one_run_after_the_other(client: Client, model: ScriptedServer) -> None:
    model.script(calls(("weather", {})), says("one two", pieces=2), says("three"))
    assistant, thread = await assistant_with(client, tools=[WEATHER]), await thread_with(client, "Hi")
    token = await token_for(client, thread)
    assert token["object"] == "thread.stream_token"
    assert token["url"] == f"{client.base_url}/threads/{thread['id']}/stream?token={token['token']}"
    assert 590 <= token["expires_at"] - CLOCK.now().timestamp() <= 601
    path = f"/threads/{thread['id']}/runs"
    async with source(token["url"]) as watched:
        assert watched.response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert watched.response.headers["X-Accel-Buffering"] == "no"
        run = await client.post(path, {"assistant_id": assistant["id"]})
        frames = await watched.until("done")
        assert names(frames)[-2:] == ["run.requires_action", "done"]
        [call] = frames[-2][2]["required_action"]["submit_tool_outputs"]["tool_calls"]
        outputs = {"tool_outputs": [{"tool_call_id": call["id"], "output": "sun"}]}
        await client.post(f"{path}/{run['id']}/submit_tool_outputs", outputs)
        frames = await watched.until("done")
        assert names(frames)[:3] == ["run.step.completed", "run.queued", "run.in_progress"]
        assert (names(frames)[-2], text_of(frames)) == ("run.completed", "one two")
        await client.post(path, {"assistant_id": assistant["id"]})
        assert text_of(await watched.until("done")) == "three"
        await client.delete(f"/threads/{thread['id']}")
        assert await watched.rest() == []


@pytest.mark.slow
async def test_it_begins_with_the_active_run_and_goes_on_where_it_broke_off(
    start_server: StartServer, model: ScriptedServer, tmp_path: Any
) -> None:
    model.script(says("one two three", pieces=["one", " two", " three"]).waits("middle", before=3))
    async with start_server() as client, start_server() as other:
        assistant, thread = await assistant_with(client), await thread_with(client, "Hi")
        run = await client.post(f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"]})
        await model.wait_for_gate("middle")
        url = (await token_for(client, thread))["url"]
        elsewhere = url.replace(client.base_url, other.base_url)
        async with source(url) as watched, source(elsewhere) as second:
            begin = await watched.until("thread.run.in_progress")
            assert names(begin)[0] == "run.created"
            assert begin[-1][0] is not None
            assert names(await second.until("thread.run.in_progress")) == names(begin)
            async with source(url, last=begin[-1][0]) as resumed:
                model.open_gate("middle")
                frames = await resumed.until("done")
                assert names(frames)[-3:] == ["run.step.completed", "run.completed", "done"]
                assert frames[-4][2]["content"][0]["text"]["value"] == "one two three"
            await second.until("done")
        await client.settled(run)
        for last, shown in ((begin[-1][0], names(frames)), (frames[-1][0], [])):
            async with source(elsewhere, last=last) as late:
                await client.post(f"/threads/{thread['id']}/messages", {"role": "user", "content": "Bye"})
                await client.delete(f"/threads/{thread['id']}") if not shown else None
                found = await late.until("done") if shown else await late.rest()
                assert names(found) == shown
        assert last is not None
        versions = [int(frame[0].split(".")[0]) for frame in frames if frame[0]]
        assert versions == sorted(versions)


@pytest.mark.slow
async def test_a_piece_that_was_seen_is_not_told_again(client: Client, model: ScriptedServer) -> None:
    model.script(says("one two", pieces=["one", " two"]).waits("middle", before=2))
    assistant, thread = await assistant_with(client), await thread_with(client, "Hi")
    url = (await token_for(client, thread))["url"]
    async with source(url) as watched:
        await client.post(f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"]})
        seen = await watched.until("thread.message.delta")
    assert text_of(seen) == "one"
    assert seen[-1][0] is not None
    assert seen[-1][0].endswith(".m3")
    async with source(url, last=seen[-1][0]) as resumed, source(url) as fresh:
        begun = await fresh.until("thread.message.delta")
        assert (names(begun)[-1], text_of(begun)) == ("message.in_progress", "one")
        model.open_gate("middle")
        frames = await resumed.until("done")
        whole = await fresh.until("done")
    assert names(frames) == ["message.completed", "run.step.completed", "run.completed", "done"]
    assert (text_of(frames), text_of(whole)) == (" two", " two")
    ended = next(data for _, event, data in frames if event == "thread.message.completed")
    assert ended["content"][0]["text"]["value"] == "one two"


@pytest.mark.slow
async def test_an_id_of_a_runs_own_stream_will_do(client: Client, model: ScriptedServer) -> None:
    assistant, thread = await assistant_with(client), await thread_with(client, "Hi")
    url = (await token_for(client, thread))["url"]
    body = {"assistant_id": assistant["id"], "stream": True}
    frames = await client.frames(f"/threads/{thread['id']}/runs", body)
    by_event = {frame.event: frame for frame in frames}
    async with source(f"{url}&last_event_id={by_event['thread.run.queued'].id}") as resumed:
        assert names(await resumed.until("done"))[:2] == ["run.in_progress", "run.step.created"]
    async with source(f"{url}&last_event_id={by_event['thread.message.delta'].id}") as resumed:
        assert names(await resumed.until("done"))[0] == "message.completed"


@pytest.mark.slow
async def test_a_run_is_followed_from_any_point(client: Client, model: ScriptedServer) -> None:
    """Cuts the stream of a run behind each of its frames. The resumed stream has exactly the frames that follow."""
    model.script(says("one two", pieces=["one", " two"]))
    assistant, thread = await assistant_with(client), await thread_with(client, "Hi")
    body = {"assistant_id": assistant["id"], "stream": True}
    posted = await client.frames(f"/threads/{thread['id']}/runs", body)
    run_id, path = posted[0].data["id"], f"{client.base_url}/threads/{thread['id']}/runs"
    token = (await token_for(client, thread))["token"]
    url = f"{path}/{run_id}/stream?token={token}"
    async with source(url) as watched:
        whole = await watched.rest()
    events = [(frame.event, frame.data) for frame in posted if not frame.event.endswith("delta")]
    assert [(event, data) for _, event, data in whole if not event.endswith("delta")] == events
    assert text_of(whole) == "one two"
    for at, frame in enumerate(whole[:-1], start=1):
        async with source(url, last=frame[0]) as resumed:
            assert await resumed.rest() == whole[at:], frame[0]
    for at, sent in enumerate(posted[:-1], start=1):
        async with source(url, last=sent.id) as resumed:
            rest = await resumed.rest()
        assert [event for _, event, _ in rest if not event.endswith("delta")] == [
            frame.event for frame in posted[at:] if not frame.event.endswith("delta")
        ]
        seen = [(frame.id, frame.event, frame.data) for frame in posted[:at]]
        assert text_of(seen + rest) == "one two"
    created = int((whole[0][0] or "").split(".")[0]) + 1
    async with source(f"{url}&after={created}") as later:
        assert await later.rest() == whole[2:]
    async with client.session.get(f"{url}&last_event_id={whole[-1][0]}") as nothing:
        assert nothing.status == 204
    for wrong in ("after=-1", "after=x", "last_event_id=1.2.3"):
        assert (await refused(f"{url}&{wrong}")).status == 400
    assert (await refused(f"{path}/run_x/stream?token={token}")).status == 404


@pytest.mark.slow
async def test_the_stream_of_a_run_ends_when_it_requires_action(client: Client, model: ScriptedServer) -> None:
    model.script(calls(("weather", {})), calls(("weather", {})), says("Sunny"))
    assistant, thread = await assistant_with(client, tools=[WEATHER]), await thread_with(client, "Hi")
    path = f"/threads/{thread['id']}/runs"
    run = await client.post(path, {"assistant_id": assistant["id"]})
    token = (await token_for(client, thread))["token"]
    url = f"{client.base_url}{path}/{run['id']}/stream?token={token}"
    pauses: list[list[Frame]] = []
    for _ in range(2):
        waiting = await client.settled(run)
        async with source(url) as watched:
            pauses.append(await watched.rest())
        [call] = waiting["required_action"]["submit_tool_outputs"]["tool_calls"]
        outputs = {"tool_outputs": [{"tool_call_id": call["id"], "output": "sun"}]}
        await client.post(f"{path}/{run['id']}/submit_tool_outputs", outputs)
    async with source(url) as watched:
        whole = await watched.rest()
    assert [names(frames).count("run.requires_action") for frames in (*pauses, whole)] == [1, 2, 2]
    assert [names(frames)[-1] for frames in (*pauses, whole)] == ["done"] * 3
    assert names(whole).count("done") == 1
    async with source(url, last=pauses[0][-1][0]) as resumed:
        assert await resumed.rest() == whole[len(pauses[0]) - 1 :]


async def test_a_token_opens_nothing_else(client: Client, pool: Pool, model: ScriptedServer) -> None:
    thread, other = await thread_with(client, "Hi"), await thread_with(client, "Hi")
    token = (await token_for(client, thread))["token"]
    base = client.base_url
    paths = (
        f"/threads/{other['id']}/stream",
        f"/threads/{thread['id']}",
        f"/threads/{thread['id']}/messages",
        "/threads",
        "/files/file-1/content",
        "/models",
        "/nowhere",
    )
    beta = {"OpenAI-Beta": "assistants=v2"}
    for path in paths:
        answer = await refused(f"{base}{path}?token={token}", **beta)
        assert answer.status == 401, path
        assert token not in str(answer.body)
    for wrong in (
        token[:-1] + ("A" if token[-1] != "A" else "B"),
        "x",
        "a.b.c",
        "ключ.a.b",
        "%00.a.b",
        "",
        token + "x" * 2000,
    ):
        answer = await refused(f"{base}/threads/{thread['id']}/stream?token={wrong}")
        assert answer.error[0::3] == (401, "invalid_token"), wrong
    async with client.session.post(f"{base}/threads/{thread['id']}?token={token}", json={}, headers=beta) as response:
        assert response.status == 401
    assert (await client.call("GET", f"/threads/thread_x/stream?token={token}")).status == 404, "a key goes before"


@pytest.mark.slow
async def test_its_time(client: Client, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    thread = await thread_with(client, "Hi")
    wrong: list[Any] = [{"expires_in": value} for value in (0, 3601, "5", 1.5)]
    for body in (*wrong, {"unknown": 1}, []):
        assert (await client.call("POST", f"/threads/{thread['id']}/stream_tokens", body)).status == 400
    assert (await client.call("POST", "/threads/thread_x/stream_tokens", {})).status == 404
    url = (await token_for(client, thread, expires_in=5))["url"]
    async with source(url) as watched:
        assert await watched.rest() == []
    assert (await refused(url)).error[0::3] == (401, "invalid_token")


async def test_it_goes_with_its_key(client: Client, pool: Pool) -> None:
    key_id, key = await make_key(pool)
    async with Client(client.base_url, key=key) as other:
        thread = await thread_with(other, "Hi")
        url = (await token_for(other, thread))["url"]
    async with source(url) as watched:
        await admin.revoke_key(writer(pool), key_id)
        async with asyncio.timeout(20):
            assert await watched.rest() == []
    assert (await refused(url)).status == 401
    async with await as_key(client, pool, scope="read") as reader:
        thread = await thread_with(client, "Hi")
        assert (await reader.call("POST", f"/threads/{thread['id']}/stream_tokens", {})).status == 403


@pytest.mark.slow
async def test_it_speaks_the_version_in_which_it_was_made(client: Client, model: ScriptedServer) -> None:
    client.headers["OpenAI-Beta"] = V1
    assistant, thread = await assistant_with(client), await thread_with(client, "Hi")
    async with source((await token_for(client, thread))["url"]) as watched:
        await client.post(f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"]})
        frames = await watched.until("done")
    assert "file_ids" in frames[0][2]


async def test_it_is_never_logged(client: Client, pool: Pool) -> None:
    thread = await thread_with(client, "Hi")
    with structlog.testing.capture_logs() as logs:
        token = (await token_for(client, thread))["token"]
        url = f"{client.base_url}/threads/{thread['id']}/stream?token={token}"
        async with source(url) as watched:
            await client.delete(f"/threads/{thread['id']}")
            await watched.rest()
        await refused(url)
        await refused(f"{client.base_url}/nowhere?token={token}")
    assert logs
    assert not [line for line in logs if token in str(line) or token[-20:] in str(line)]


async def test_secrets_are_shared_and_rotate(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = Keys(pool, KEY, clock=CLOCK)
    key = await keys.find(KEY)
    assert isinstance(key, ApiKey)
    one, two = Signer(pool, keys, clock=CLOCK, ids=IDS), Signer(pool, keys, clock=CLOCK, ids=IDS)
    old, _ = await one.sign("stream", "thread_1", key, "v2", 60)
    grant = await two.check("stream", "thread_1", old)
    assert grant is not None
    assert (grant.key, grant.version) == (key, "v2")
    assert await two.check("file", "thread_1", old) is None
    assert await two.check("stream", "thread_2", old) is None
    await pool.execute("UPDATE signing_keys SET created_at = created_at - $1::interval", signed_tokens.ROTATE)
    new, _ = await Signer(pool, keys, clock=CLOCK, ids=IDS).sign("stream", "thread_1", key, "v2", 60)
    assert new.split(".")[0] != old.split(".")[0]
    fresh = Signer(pool, keys, clock=CLOCK, ids=IDS)
    assert await fresh.check("stream", "thread_1", old) is not None
    assert await fresh.check("stream", "thread_1", new) is not None
    assert (
        await Signer(pool, Keys(pool, "another key", clock=CLOCK), clock=CLOCK, ids=IDS).check(
            "stream", "thread_1", new
        )
        is None
    )
    monkeypatch.setattr(signed_tokens, "CACHE_S", 0.0)
    await pool.execute("DELETE FROM signing_keys")
    assert await Signer(pool, keys, clock=CLOCK, ids=IDS).check("stream", "thread_1", new) is None
