"""Requests with `at`: objects and lists as they were, over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
import pytest

from service.cli import admin
from service.database import Pool
from service.http.openapi.document import document
from service.http.routes import ROUTES
from service.replay import past_lists
from tests.client import V1, Answer, Client
from tests.clock import IDS
from tests.http.helpers import assistant_with, run_of, thread_with
from tests.http.keys import as_key, writer
from tests.http.stores import store_with
from tests.scripted import ScriptedServer, calls, says


async def _version(pool: Pool, stream_id: str) -> str:
    return str(await pool.fetchval("SELECT version FROM streams WHERE stream_id = $1", stream_id))


def _now() -> str:
    return datetime.now(UTC).isoformat()


async def _ids(client: Client, path: str, **query: str) -> list[str]:
    return [one["id"] for one in (await client.get(path, order="asc", **query))["data"]]


@pytest.mark.parametrize("beta", [None, V1])
async def test_a_thread_as_it_was(client: Client, pool: Pool, model: ScriptedServer, beta: str | None) -> None:
    client.headers["OpenAI-Beta"] = beta or client.headers["OpenAI-Beta"]
    weather = {"type": "function", "function": {"name": "weather"}}
    model.script(calls(("weather", {"city": "Rome"})), says("It rains."))
    run = await client.settled(await run_of(client, "Rome?", tools=[weather]))
    thread = f"/threads/{run['thread_id']}"
    run_path = f"{thread}/runs/{run['id']}"
    waiting = await _version(pool, run["thread_id"])
    before = {path: await client.get(path) for path in (thread, f"{thread}/messages", f"{thread}/runs", run_path)}
    before[f"{run_path}/steps"] = await client.get(f"{run_path}/steps")
    [step] = before[f"{run_path}/steps"]["data"]
    before[f"{run_path}/steps/{step['id']}"] = step
    at = _now()

    call = run["required_action"]["submit_tool_outputs"]["tool_calls"][0]
    outputs = {"tool_outputs": [{"tool_call_id": call["id"], "output": "rain"}]}
    await client.settled(await client.post(f"{run_path}/submit_tool_outputs", outputs))
    await client.post(thread, {"metadata": {"a": "b"}})
    [answer, question] = (await client.get(f"{thread}/messages"))["data"]
    await client.post(f"{thread}/messages/{question['id']}", {"metadata": {"c": "d"}})
    for path, body in before.items():
        assert await client.get(path) != body
        assert await client.get(path, at=waiting) == body
        assert await client.get(path, at=at) == body

    refused = await client.call("GET", f"{thread}/messages/{answer['id']}", at="2")
    began = int(
        await pool.fetchval("SELECT min(version) FROM events WHERE content LIKE $1", f"%{answer['id']}%".encode())
    )
    assert refused.status == 404
    assert f"No message found with id '{answer['id']}' at version 2: it began at version {began} of" in refused.error[1]
    refused = await client.call("GET", thread, at="0")
    assert refused.status == 404
    assert "at version 0: it began at version 1 of" in refused.error[1]


@pytest.mark.parametrize("at", ["", "now", "2026-11-28", "1e400", "7,8"])
async def test_a_point_that_is_none(client: Client, at: str) -> None:
    for path in (
        "/threads",
        "/assistants",
        "/vector_stores",
        "/threads/thread_1",
        "/assistants/asst_1/",
        "/threads/a/runs",
    ):
        answer = await client.call("GET", path.rstrip("/"), at=at)
        assert (answer.status, *answer.error[2:]) == (400, "at", "invalid_value"), path


async def test_a_list_of_several_streams_takes_no_version(client: Client) -> None:
    for path in ("/threads", "/assistants", "/vector_stores"):
        answer = await client.call("GET", path, at="7")
        assert (answer.status, *answer.error[2:]) == (400, "at", "invalid_value")
        assert "has versions of its own" in answer.error[1]
    answer = await client.call("GET", "/threads?at=7&at=8")
    assert answer.error == (400, "'at' was given more than once.", "at", "invalid_value")


async def test_pages_within_a_thread(client: Client, pool: Pool) -> None:
    thread = await thread_with(client, *"abcde")
    path = f"/threads/{thread['id']}/messages"
    ids = await _ids(client, path)
    version = await _version(pool, thread["id"])
    await client.post(path, {"role": "user", "content": "f"})
    await client.delete(f"{path}/{ids[2]}")
    kept = [*ids[:2], *ids[3:]]
    assert await _ids(client, path, at=version) == kept
    page = await client.get(path, at=version, limit="2")
    assert ([one["id"] for one in page["data"]], page["has_more"]) == (kept[:1:-1], True)
    assert await _ids(client, path, at=version, after=ids[2]) == ids[3:]
    assert await _ids(client, path, at=version, before=ids[3], limit="1") == [ids[1]]
    answer = await client.call("GET", path, at=version, after="msg_none")
    assert answer.error == (404, "No message found with id 'msg_none'.", None, None)


async def test_lists_at_a_time(client: Client, pool: Pool) -> None:
    """Each list of streams: pages, cursors and filters are as they were."""
    auditor = await as_key(client, pool, scope="audit:content")
    await assistant_with(client, metadata={"k": "old"}, name="first")
    await thread_with(client, "x")
    await store_with(client)
    one = await client.post("/threads", {"metadata": {"k": "old"}})
    two = await client.post("/threads", {"metadata": {"k": "old"}})
    assistant = await assistant_with(client, metadata={"k": "old"}, name="old")
    store = await client.post("/vector_stores", {"name": "old"})
    paths = ("/threads", "/assistants", "/vector_stores")
    before = {path: await client.get(path) for path in paths}
    first_pages = {path: await client.get(path, limit="1") for path in paths}
    at = _now()

    await client.post(f"/threads/{one['id']}", {"metadata": {"k": "new"}})
    await client.post(f"/assistants/{assistant['id']}", {"metadata": {"k": "new"}, "name": "new"})
    await client.post(f"/vector_stores/{store['id']}", {"name": "new"})
    await thread_with(client, "later")
    await assistant_with(client, metadata={"k": "old"})
    await client.post("/vector_stores", {})
    for path in paths:
        assert await client.get(path) != before[path]
        assert await client.get(path, at=at) == before[path], path
        assert await client.get(path, at=at, limit="1") == first_pages[path], path
        ids = [one["id"] for one in before[path]["data"]]
        assert await _ids(client, path, at=at, before=ids[0]) == ids[:0:-1]
        assert await _ids(client, path, at=at, after=ids[-1]) == ids[-2::-1]
        assert await _ids(client, path, at="2001-01-01T00:00:00Z") == []
    assert await _ids(client, "/threads", at=at, **{"metadata[k]": "old"}) == [one["id"], two["id"]]
    assert await _ids(client, "/threads", at=at, **{"metadata[k]": "new"}) == []
    assert len(await _ids(client, "/assistants", at=at, **{"metadata[k]": "old"})) == 2

    await client.delete(f"/threads/{two['id']}")
    await client.delete(f"/assistants/{assistant['id']}")
    await client.delete(f"/vector_stores/{store['id']}")
    async with auditor:
        for path, id in zip(paths, (two["id"], assistant["id"], store["id"]), strict=True):
            assert (
                await _ids(client, path, at=at) == [one["id"] for one in before[path]["data"] if one["id"] != id][::-1]
            )
            assert (await client.call("GET", f"{path}/{id}", at=at)).status == 404
            found = next(one for one in before[path]["data"] if one["id"] == id)
            assert await auditor.get(f"{path}/{id}", at=at) == found
            assert await auditor.get(path, at=at) == before[path]


async def test_a_list_ends_at_its_bounds(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [(await client.post("/threads", {"metadata": {"n": str(n)}}))["id"] for n in range(5)]
    monkeypatch.setattr(past_lists, "CANDIDATES", 2)
    at = _now()
    assert await _ids(client, "/threads", at=at) == ids
    monkeypatch.setattr(past_lists, "MAX_STREAMS", 3)
    page = await client.get("/threads", at=at, order="asc")
    assert ([one["id"] for one in page["data"]], page["has_more"]) == (ids[:3], True)
    answer = await client.call("GET", "/threads?metadata[n]=4", at=at, order="asc")
    assert (answer.status, answer.error[3]) == (400, "history_too_large")
    assert f"go on behind '{ids[2]}'" in answer.error[1]
    assert await _ids(client, "/threads", at=at, after=ids[2], **{"metadata[n]": "4"}) == [ids[4]]


async def test_a_vector_store_as_it_was(client: Client, pool: Pool) -> None:
    store = await store_with(client, "a.txt", "b.txt")
    path = f"/vector_stores/{store['id']}"
    files = (await client.get(f"{path}/files"))["data"]
    kept = {one: await client.get(one) for one in (path, f"{path}/files", f"{path}/files/{files[0]['id']}")}
    version = await _version(pool, store["id"])
    await client.post(f"{path}/files/{files[0]['id']}", {"attributes": {"long name": 1.5, "a": True, "bb": "x"}})
    changed = await client.get(f"{path}/files")
    attributes = await _version(pool, store["id"])
    batch = await client.post(f"{path}/file_batches", {"file_ids": [files[1]["id"]]})
    with_batch = await _version(pool, store["id"])
    await client.delete(f"{path}/files/{files[0]['id']}")
    for one, body in kept.items():
        assert await client.get(one, at=version) == body
    at_attributes = await client.get(f"{path}/files", at=attributes)
    assert orjson.dumps(at_attributes) == orjson.dumps(changed), "in the same order"
    batch_path = f"{path}/file_batches/{batch['id']}"
    assert (await client.get(batch_path, at=with_batch))["file_counts"]["total"] == 1
    assert await _ids(client, f"{batch_path}/files", at=with_batch) == [files[1]["id"]]
    answer = await client.call("GET", f"{path}/file_batches/{batch['id']}", at=version)
    assert (answer.status, "it began at version" in answer.error[1]) == (404, True)


async def test_other_projects_see_nothing(client: Client, pool: Pool) -> None:

    thread = await thread_with(client, "x")
    await admin.create_project(writer(pool), "other", ids=IDS)
    async with await as_key(client, pool, "other", "audit:content") as other:
        for at in ("0", "1", _now()):
            answer: Answer = await other.call("GET", f"/threads/{thread['id']}", at=at)
            assert answer.error == (404, f"No thread found with id '{thread['id']}'.", None, None)
        assert (await other.get("/threads", at=_now()))["data"] == []


def test_the_document_names_the_parameter() -> None:
    with_at = {
        path
        for path, methods in document(ROUTES)["paths"].items()
        if any(one["name"] == "at" for one in methods.get("get", {}).get("parameters", ()))
    }
    assert len(with_at) == 16
    assert {"/v1/threads", "/v1/threads/{thread_id}/runs/{run_id}/steps/{step_id}"} <= with_at
