"""Idempotency-Key: one effect and one answer if a request is sent twice, at the same time, or to another process."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from service.database import Pool
from service.http.bodies import OFF_LOOP
from service.idempotency import keys as idempotency
from service.idempotency.keys import KEPT, IdempotencyKeys
from sql.connection import Connection
from tests.client import V1, Answer, Client, Frame
from tests.clock import CLOCK, IDS
from tests.conftest import StartServer
from tests.http.files import BOUNDARY, blobs_in, form, send, upload
from tests.http.helpers import assistant_with, thread_with
from tests.http.keys import as_key
from tests.scripted import ScriptedServer, calls, says
from tests.wire.sample_objects import count_events, fill_ids

WEATHER = {"type": "function", "function": {"name": "weather"}}
HI = {"role": "user", "content": "Hi"}
REPLAYED = "Idempotent-Replayed"


async def sent(client: Client, path: str, body: Any = None, key: str = "k1", **headers: str) -> Answer:
    return await client.call("POST", path, body, headers={"Idempotency-Key": key, **headers})


async def good(client: Client, path: str, body: Any = None, key: str = "k1") -> Any:
    answer = await sent(client, path, body, key)
    assert answer.status == 200, answer.body
    return answer.body


async def streamed(client: Client, path: str, body: Any, key: str = "k1") -> list[Frame]:
    async with Client(client.base_url) as keyed:
        keyed.headers = {**client.headers, "Idempotency-Key": key}
        return await keyed.frames(path, {**body, "stream": True})


@pytest.mark.slow
async def test_every_post_has_its_effect_once(client: Client, pool: Pool, model: ScriptedServer) -> None:
    model.script(calls(("weather", {})), says("Sunny"), says("Fine"), calls(("weather", {})))
    steps: list[tuple[str, Any]] = [
        ("/assistants", {"model": "gpt-4o", "tools": [WEATHER]}),
        ("/assistants/{assistant}", {"name": "N"}),
        ("/threads", {"messages": [HI]}),
        ("/threads/{thread}", {"metadata": {"k": "v"}}),
        ("/threads/{thread}/messages", HI),
        ("/threads/{thread}/messages/{message}", {"metadata": {"k": "v"}}),
        ("/threads/{thread}/runs", {"assistant_id": "{assistant}"}),
        (
            "/threads/{thread}/runs/{run}/submit_tool_outputs",
            {"tool_outputs": [{"tool_call_id": "{call}", "output": ""}]},
        ),
        ("/threads/{thread}/runs/{run}", {"metadata": {"k": "v"}}),
        ("/threads/runs", {"assistant_id": "{assistant}", "thread": {"messages": [HI]}}),
        ("/threads/{thread}/runs", {"assistant_id": "{assistant}"}),
        ("/threads/{thread}/runs/{run}/cancel", None),
        ("/uploads", {"filename": "a", "purpose": "batch", "bytes": 1, "mime_type": "text/plain"}),
        ("/uploads/{upload}/cancel", None),
    ]
    ids: dict[str, str] = {}
    for number, step in enumerate(steps):
        path, body = fill_ids(step[0], ids), fill_ids(step[1], ids)
        first = await sent(client, path, body, f"key {number}")
        assert (first.status, REPLAYED in first.headers) == (200, False), (path, first.body)
        kind = first.body["object"].rpartition(".")[2]
        ids[kind] = first.body["id"]
        if kind == "run":
            ids["thread"] = first.body["thread_id"]
            settled = await client.settled(first.body)
            if settled["required_action"]:
                ids["call"] = settled["required_action"]["submit_tool_outputs"]["tool_calls"][0]["id"]
        before = await count_events(pool)
        again = await sent(client, path, body, f"key {number}")
        assert (again.status, again.body, again.headers[REPLAYED]) == (200, first.body, "true"), path
        assert await count_events(pool) == before, path
    assert len((await client.get("/threads"))["data"]) == 2


async def test_large_bodies_are_compared_byte_by_byte(client: Client) -> None:
    text = "x" * OFF_LOOP
    body = f'{{"metadata": {{"a": "1"}}, "messages": [{{"role": "user", "content": "{text}"}}]}}'.encode()
    thread = (await sent(client, "/threads", body)).body
    assert (await sent(client, "/threads", body)).body == thread
    answer = await sent(client, "/threads", body.replace(b'"a": ', b'"a":'))
    assert (answer.status, answer.error[3]) == (400, "idempotency_key_reused")


async def test_another_request_needs_another_key(client: Client, pool: Pool) -> None:
    thread = await good(client, "/threads", {"metadata": {"a": "1", "b": "2"}})
    same = await sent(client, "/threads", b'{"metadata": {"b": "2",   "a": "1"}}')
    assert same.body == thread, "the order of keys says nothing"
    others: list[tuple[str, Any, dict[str, str]]] = [
        ("/threads", {"metadata": {}}, {}),
        ("/assistants", {"model": "gpt-4o"}, {}),
        (f"/threads/{thread['id']}", {}, {}),
        ("/threads", {"metadata": {"a": "1", "b": "2"}}, {"OpenAI-Beta": V1}),
    ]
    for path, body, headers in others:
        status, message, param, code = (await sent(client, path, body, **headers)).error
        assert (status, param, code) == (400, "Idempotency-Key", "idempotency_key_reused")
        assert "used before for a request with another path or body" in message
    assert len((await client.get("/threads"))["data"]) == 1
    async with await as_key(client, pool) as other:
        assert (await good(other, "/threads", {}))["id"] != thread["id"], "a key belongs to its API key"
    assert (await client.call("GET", "/threads", headers={"Idempotency-Key": "k1"})).status == 200


@pytest.mark.slow
@pytest.mark.parametrize("key", ["", "k" * 256, "ключ", "a\tb"])
async def test_what_is_no_key(client: Client, pool: Pool, key: str) -> None:
    status, _, param, code = (await sent(client, "/threads", {}, key)).error
    assert (status, param, code) == (400, "Idempotency-Key", "invalid_idempotency_key")
    assert await pool.fetchval("SELECT count(*) FROM events WHERE stream_id <> 'installation'") == 0
    assert (await sent(client, "/threads", {}, "k" * 255)).status == 200


async def test_what_was_refused_may_be_put_right(client: Client, pool: Pool) -> None:
    assert (await sent(client, "/assistants", {"model": 7})).status == 400
    assert (await sent(client, "/assistants", b"{")).status == 400
    assert (await sent(client, "/threads/thread_nothing/messages", HI)).status == 404
    assert (await sent(client, "/nowhere", {})).status == 404
    assistant = await good(client, "/assistants", {"model": "gpt-4o"})
    assert (await good(client, "/assistants", {"model": "gpt-4o"})) == assistant
    assert (await sent(client, "/assistants", {"model": 7})).error[3] == "idempotency_key_reused"


@pytest.mark.slow
async def test_at_once_on_two_processes(start_server: StartServer, pool: Pool, tmp_path: Path) -> None:
    async with start_server() as one, start_server() as two:
        assistant, thread = await assistant_with(one), await thread_with(one, "Hi")
        body = {"assistant_id": assistant["id"]}
        for path, asked in (("/threads", {"messages": [HI]}), (f"/threads/{thread['id']}/runs", body)):
            before = len(await pool.fetch("SELECT FROM streams"))
            answers = await asyncio.gather(*(sent(client, path, asked, path) for client in (one, two) * 8))
            assert {answer.status for answer in answers} == {200}
            assert len({orjson.dumps(answer.body) for answer in answers}) == 1, path
            assert sum(REPLAYED not in answer.headers for answer in answers) == 1
            assert len(await pool.fetch("SELECT FROM streams")) - before == (path == "/threads")
        await one.settled(answers[0].body)
        assert len((await one.get(f"/threads/{thread['id']}/runs"))["data"]) == 1


async def test_duplicates_wait_for_the_first(start_server: StartServer, model: ScriptedServer, tmp_path: Path) -> None:
    model.script(says("Once").holds("gate"))
    chat = {"model": "gpt-4o", "messages": [HI]}
    async with start_server() as one, start_server() as two:
        tries = [asyncio.create_task(sent(client, "/chat/completions", chat)) for client in (one, two, one)]
        await model.wait_for_gate("gate")
        done, _ = await asyncio.wait(tries, timeout=0)
        assert not done
        model.open_gate("gate")
        answers = await asyncio.gather(*tries)
    assert [answer.body["choices"][0]["message"]["content"] for answer in answers] == ["Once"] * 3
    assert len(model.requests) == 1


async def test_a_first_of_a_process_that_was_not_seen_yet_is_not_taken_for_dead(
    start_server: StartServer, model: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.processes.peers.LOOK_EVERY_S", 3600.0)
    model.script(says("Once").holds("gate"), says("Twice"))
    chat = {"model": "gpt-4o", "messages": [HI]}
    async with start_server() as one, start_server() as two:
        first = asyncio.create_task(sent(two, "/chat/completions", chat))
        await model.wait_for_gate("gate")
        monkeypatch.setattr(idempotency, "PATIENCE", 0.0)
        assert (await sent(one, "/chat/completions", chat)).status == 409
        model.open_gate("gate")
        assert (await first).body["choices"][0]["message"]["content"] == "Once"


async def test_a_first_that_takes_too_long(
    client: Client, model: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.script(says("Once").holds("gate"))
    chat = {"model": "gpt-4o", "messages": [HI]}
    first = asyncio.create_task(sent(client, "/chat/completions", chat))
    await model.wait_for_gate("gate")
    with monkeypatch.context() as impatient:
        impatient.setattr(idempotency, "PATIENCE", 0.0)
        busy = await sent(client, "/chat/completions", chat)
    assert (busy.error[0], busy.error[3], busy.headers["retry-after"]) == (409, "idempotency_key_in_use", "1")
    model.open_gate("gate")
    assert (await first).status == 200
    # The first answer is recorded after it was sent, so the repeated request waits for the record with patience.
    assert (await sent(client, "/chat/completions", chat)).body == (await first).body


async def test_a_streams_duplicate_is_the_same_runs_stream(client: Client, model: ScriptedServer, pool: Pool) -> None:
    model.script(calls(("weather", {})), says("one two", pieces=["one", " two"]).holds("gate"))
    assistant = await assistant_with(client, tools=[WEATHER])
    body = {"assistant_id": assistant["id"], "thread": {"messages": [HI]}}
    first = await streamed(client, "/threads/runs", body)
    await client.delete(f"/assistants/{assistant['id']}")
    before = await count_events(pool)
    again = await streamed(client, "/threads/runs", body)
    assert await count_events(pool) == before
    assert [frame.data for frame in again if "delta" not in frame.event] == [
        frame.data for frame in first if "delta" not in frame.event
    ]
    run = first[1].data
    [call] = first[-2].data["required_action"]["submit_tool_outputs"]["tool_calls"]
    outputs = {"tool_outputs": [{"tool_call_id": call["id"], "output": "sun"}]}
    path = f"/threads/{run['thread_id']}/runs/{run['id']}/submit_tool_outputs"
    tries = [asyncio.create_task(streamed(client, path, outputs, "k2"))]
    await model.wait_for_gate("gate")
    # The duplicate arrives while the first is in progress. It does not wait: it watches the first one's run.
    tries.append(asyncio.create_task(streamed(client, path, outputs, "k2")))
    async with asyncio.timeout(20):
        while await pool.fetchval("SELECT count(*) FROM idempotency_keys WHERE process IS NOT NULL"):
            await asyncio.sleep(0.01)
    model.open_gate("gate")
    one, two = await asyncio.gather(*tries)
    late = await streamed(client, path, outputs, "k2")
    for frames in (one, two, late):
        assert [frame.event for frame in frames if "delta" not in frame.event][:3] == [
            "thread.run.step.completed",
            "thread.run.queued",
            "thread.run.in_progress",
        ]
        assert frames[-2].data["status"] == "completed"
        text = [
            frame.data["delta"]["content"][0]["text"]["value"] for frame in frames if "message.delta" in frame.event
        ]
        assert "".join(text) == "one two"
    assert one[0].data == late[0].data
    assert len(model.requests) == 2
    assert (await sent(client, "/threads/runs", body)).error[3] == "idempotency_key_reused", "without a stream"


async def test_a_limit_on_runs_counts_a_duplicate_once(client: Client, pool: Pool, model: ScriptedServer) -> None:
    model.script(calls(("weather", {})))
    async with await as_key(client, pool, max_runs=1) as limited:
        assistant = await assistant_with(limited, tools=[WEATHER])
        body = {"assistant_id": assistant["id"], "thread": {"messages": [HI]}}
        first = await streamed(limited, "/threads/runs", body)
        assert (await streamed(limited, "/threads/runs", body))[1].data == first[1].data
        assert (await sent(limited, "/threads/runs", body, "k2")).status == 429


async def _sent_form(client: Client, body: bytes, path: str = "/files", boundary: str = BOUNDARY) -> Answer:
    raw = body.replace(BOUNDARY.encode(), boundary.encode())
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    return await send(client, raw, path, **{"Idempotency-Key": path, **kind})


async def test_forms(client: Client, tmp_path: Path) -> None:
    first = await _sent_form(client, form(b"abc"))
    again = await _sent_form(client, form(b"abc", after=True), boundary="another")
    assert (first.status, again.body, again.headers[REPLAYED]) == (200, first.body, "true")
    for other in (form(b"abd"), form(b"abc", [("purpose", "batch")]), form(b"abc", filename='filename="b.txt"')):
        assert (await _sent_form(client, other)).error[3] == "idempotency_key_reused"
    assert len(blobs_in(tmp_path)) == 1
    about = {"filename": "a.txt", "purpose": "assistants", "bytes": 3, "mime_type": "text/plain"}
    path = f"/uploads/{(await client.post('/uploads', about))['id']}"
    parts = await asyncio.gather(
        *(_sent_form(client, form(b"xyz", (), name="data"), path + "/parts") for _ in range(4))
    )
    assert len({answer.body["id"] for answer in parts}) == 1
    assert len(blobs_in(tmp_path)) == 2
    body = {"part_ids": [parts[0].body["id"]]}
    done = await asyncio.gather(*(sent(client, path + "/complete", body, "done") for _ in range(4)))
    assert len({answer.body["file"]["id"] for answer in done}) == 1
    assert len(blobs_in(tmp_path)) == 2


async def test_what_passes_through_is_kept_too(client: Client, model: ScriptedServer) -> None:
    model.script(says("one two", pieces=["one", " two"]))
    chat = {"model": "gpt-4o", "messages": [HI], "stream": True}
    read = []
    for _ in range(2):
        headers: Mapping[str, str] = {**client.headers, "Idempotency-Key": "k1"}
        async with client.session.post(f"{client.base_url}/chat/completions", json=chat, headers=headers) as response:
            read.append((response.status, response.headers["Content-Type"], await response.read()))
    assert read[0] == read[1]
    assert len(model.requests) == 1


async def test_keys_are_forgotten_after_a_day(client: Client, pool: Pool, model: ScriptedServer) -> None:
    thread = await good(client, "/threads", {})
    older = "UPDATE idempotency_keys SET created_at = created_at - $1::interval"
    await pool.execute(older, KEPT)
    other = await good(client, "/threads", {"metadata": {"k": "v"}})
    assert other["id"] != thread["id"]
    assert await good(client, "/threads", {"metadata": {"k": "v"}}) == other
    keeper = IdempotencyKeys(pool, _Alone(), clock=CLOCK, ids=IDS)
    await keeper.expire(CLOCK.now())
    assert await pool.fetchval("SELECT count(*) FROM idempotency_keys") == 1
    await keeper.expire(CLOCK.now() + KEPT)
    assert await pool.fetchval("SELECT count(*) FROM idempotency_keys") == 0
    await keeper.expire(CLOCK.now() + 2 * KEPT)
    assert await pool.fetchval("SELECT count(*) FROM idempotency_effects") == 0


async def test_those_who_wait_look_together_and_are_few(
    client: Client, pool: Pool, model: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of all duplicates in a process queries the database, less and less often, and shares the answer with the
    others.
    """
    monkeypatch.setattr(idempotency, "MAX_WAITING", 10)
    monkeypatch.setattr(idempotency, "FIRST_PAUSE", 3600.0)
    monkeypatch.setattr(idempotency, "LONGEST_PAUSE", 3600.0)
    looks, answers = [0], [0]

    async def counted(self: IdempotencyKeys, *args: Any) -> bool:
        looks[0] += args[2].answer is None
        return await real(self, *args)

    real = IdempotencyKeys._try_to_claim
    monkeypatch.setattr(IdempotencyKeys, "_try_to_claim", counted)
    model.script(says("Once").holds("gate"))
    chat = {"model": "gpt-4o", "messages": [HI]}
    first = asyncio.create_task(sent(client, "/chat/completions", chat))
    await model.wait_for_gate("gate")
    tries = [asyncio.create_task(sent(client, "/chat/completions", chat)) for _ in range(13)]
    refused = 0
    for done in asyncio.as_completed(tries):
        answer = await done
        if answer.status == 409:
            refused += 1
            if refused == 3:
                model.open_gate("gate")
        else:
            answers[0] += 1
            assert answer.body == (await first).body
            assert answer.headers[REPLAYED] == "true"
    assert (answers[0], refused) == (10, 3)
    assert looks[0] == 2, "one that found it at work, and one when it had ended: nobody sat out the pause"


@pytest.mark.slow
@pytest.mark.parametrize("of", ["webhook", "stream", "file"])
async def test_secrets_are_not_kept(client: Client, pool: Pool, of: str) -> None:
    thread = await thread_with(client, "Hi")
    file = await upload(client)
    asked: dict[str, tuple[str, dict[str, Any]]] = {
        "webhook": ("/webhook_endpoints", {"url": "https://example.com/"}),
        "stream": (f"/threads/{thread['id']}/stream_tokens", {"expires_in": 60}),
        "file": (f"/files/{file['id']}/links", {"expires_in": 60}),
    }
    path, body = asked[of]
    first, again = [await sent(client, path, body) for _ in range(2)]
    assert (first.status, again.status, first.headers["Cache-Control"]) == (200, 200, "no-store")
    assert await pool.fetchval("SELECT count(*) FROM idempotency_keys WHERE content IS NOT NULL") == 0
    if of == "webhook":
        assert again.body == first.body, "the endpoint is made once, and has one secret"
    assert (await sent(client, path, {**body, "expires_in": 61})).error[3] == "idempotency_key_reused"


@pytest.mark.slow
async def test_what_a_request_named_may_have_gone_since(client: Client, pool: Pool, model: ScriptedServer) -> None:
    """The answer of the first try was lost. The second gets the created object, even if the files it named were
    deleted.
    """
    assistant, thread = await assistant_with(client), await thread_with(client, "Hi")
    other = await thread_with(client, "Hi")
    store = await client.post("/vector_stores", {})
    file = (await upload(client))["id"]
    for_search = [{"file_id": file, "tools": [{"type": "file_search"}]}]
    said = {**HI, "attachments": for_search}
    code = {"tool_resources": {"code_interpreter": {"file_ids": [file]}}}
    steps: list[tuple[str, Any]] = [
        ("/threads", {"messages": [said]}),
        ("/threads", code),
        (f"/threads/{other['id']}", code),
        (f"/threads/{other['id']}/messages", said),
        (f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"], "additional_messages": [said]}),
        ("/threads/runs", {"assistant_id": assistant["id"], "thread": {"messages": [said]}}),
        ("/assistants", {"model": "gpt-4o", **code}),
        (f"/assistants/{assistant['id']}", code),
        ("/vector_stores", {"file_ids": [file]}),
        (f"/vector_stores/{store['id']}/file_batches", {"file_ids": [file]}),
    ]
    made = [await good(client, path, body, f"key {number}") for number, (path, body) in enumerate(steps)]
    old = await sent(client, "/assistants", {"model": "gpt-4o", "file_ids": [file]}, "old", **{"OpenAI-Beta": V1})
    await client.settled(made[4])
    await client.settled(made[5])
    await client.delete(f"/files/{file}")
    await pool.execute("UPDATE idempotency_keys SET status = NULL, process = NULL, content = NULL, headers = NULL")
    before = await count_events(pool)
    for number, (path, body) in enumerate(steps):
        again = await sent(client, path, body, f"key {number}")
        assert (again.status, again.body.get("id")) == (200, made[number]["id"]), (path, again.body)
        assert REPLAYED not in again.headers
    again = await sent(client, "/assistants", {"model": "gpt-4o", "file_ids": [file]}, "old", **{"OpenAI-Beta": V1})
    assert again.body["id"] == old.body["id"]
    assert await count_events(pool) == before


class _Alone:
    process = 1
    live = frozenset({1})

    async def refresh(self, db: Connection) -> frozenset[int]:
        return self.live


@pytest.mark.slow
async def test_no_key_sticks(client: Client, pool: Pool) -> None:
    """Claims that nobody will release: of a process that died, and of this one, which forgot them."""
    keeper, body = IdempotencyKeys(pool, _Alone(), clock=CLOCK, ids=IDS), b"body"
    first = await keeper.begin(b"token", b"request", body)
    assert first.is_claimed
    second = await keeper.begin(b"token", b"request", body)
    assert (second.is_claimed, second.is_repeat, second.effects.seed) == (False, True, first.effects.seed)
    keeper._held.clear()
    await keeper.settle(second, body)
    assert second.is_claimed
    await pool.execute("UPDATE idempotency_keys SET process = 2")
    third = await keeper.begin(b"token", b"request", body)
    await keeper.settle(third, body)
    assert third.is_claimed
    await keeper.release(second, keep=True)
    await keeper.release(third, keep=False)
    other = await keeper.begin(b"token", b"another request", body)
    await keeper.settle(other, b"another body")
    assert other.is_claimed
