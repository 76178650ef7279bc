"""POST /threads/{thread_id}/fork: a new thread with the history of another one, up to a point."""

from __future__ import annotations

from typing import Any

import pytest

from projections.rebuild import verify
from service.cli import admin
from service.database import Pool
from tests.client import V1, Client
from tests.clock import IDS
from tests.http.helpers import assistant_with, said_by, thread_with
from tests.http.keys import as_key, writer
from tests.http.stores import file_named, files_of, settled
from tests.scripted import ScriptedServer, calls, says

WEATHER = {"type": "function", "function": {"name": "weather"}}
FOR_SEARCH = [{"type": "file_search"}]


async def fork_of(client: Client, thread_id: str, **body: Any) -> Any:
    return await client.post(f"/threads/{thread_id}/fork", body)


async def listed(client: Client, path: str, **query: str) -> list[Any]:
    """Returns all objects of a list, the oldest first."""
    found: list[Any] = []
    more: dict[str, str] = {}
    while True:
        page = await client.get(path, order="asc", limit="100", **query, **more)
        found += page["data"]
        if not page["has_more"]:
            return found
        more = {"after": page["last_id"]}


async def contents(client: Client, thread_id: str, **query: str) -> dict[str, Any]:
    """Returns the thread with all its objects."""
    thread = await client.get(f"/threads/{thread_id}", **query)
    messages = await listed(client, f"/threads/{thread_id}/messages", **query)
    runs = await listed(client, f"/threads/{thread_id}/runs", **query)
    steps = [await listed(client, f"/threads/{thread_id}/runs/{run['id']}/steps", **query) for run in runs]
    return {"thread": thread, "messages": messages, "runs": runs, "steps": steps}


def with_ids_of(copy: dict[str, Any], source: dict[str, Any]) -> dict[str, Any]:
    """Returns the contents of a fork with the ids of its origin. The fork's time of creation is that of the origin."""
    pairs = zip(_ids(copy), _ids(source), strict=True)
    ids = {copied: original for copied, original in pairs if copied is not None}

    def renamed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: renamed(each) for key, each in value.items()}
        if isinstance(value, list):
            return [renamed(each) for each in value]
        return ids.get(value, value) if isinstance(value, str) else value

    found: dict[str, Any] = renamed(copy)
    found["thread"]["created_at"] = source["thread"]["created_at"]
    return found


def _ids(found: dict[str, Any]) -> list[str | None]:
    steps = [step for steps in found["steps"] for step in steps]
    # A step may name a message that was deleted.
    named = [step["step_details"].get("message_creation", {}).get("message_id") for step in steps]
    return [found["thread"]["id"], *(one["id"] for one in [*found["messages"], *found["runs"], *steps]), *named]


async def conversation(client: Client, model: ScriptedServer) -> tuple[str, str]:
    """Returns a thread with two answered questions, one of them with a call of a function, and the assistant."""
    assistant = (await assistant_with(client, tools=[WEATHER], metadata={"a": "b"}))["id"]
    thread = (await thread_with(client, "How warm is it?"))["id"]
    model.script(calls(("weather", {"city": "Oslo"})))
    run = await client.settled(await client.post(f"/threads/{thread}/runs", {"assistant_id": assistant}))
    [call] = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    model.script(says("Eight degrees."))
    path = f"/threads/{thread}/runs/{run['id']}/submit_tool_outputs"
    outputs = [{"tool_call_id": call["id"], "output": "8"}]
    await client.settled(await client.post(path, {"tool_outputs": outputs}))
    await client.post(f"/threads/{thread}/messages", {"role": "user", "content": "Thanks", "metadata": {"n": "1"}})
    model.script(says("You are welcome."))
    await client.settled(await client.post(f"/threads/{thread}/runs", {"assistant_id": assistant}))
    return thread, assistant


async def test_a_fork_has_the_objects_of_its_origin(client: Client, pool: Pool, model: ScriptedServer) -> None:
    thread, _ = await conversation(client, model)
    fork = await fork_of(client, thread)
    async with Client(client.base_url, beta=V1) as v1:
        for wire in (client, v1):
            source, copy = await contents(wire, thread), await contents(wire, fork["id"])
            assert with_ids_of(copy, source) == source
            assert not set(filter(None, _ids(source))) & set(filter(None, _ids(copy)))
        assert "tool_resources" not in await fork_of(v1, thread)
    assert fork == await client.get(f"/threads/{fork['id']}")
    async with pool.acquire() as db:
        assert await verify(db, fork["id"]) == []
        assert await verify(db, thread) == []


async def test_both_threads_record_the_fork(client: Client, pool: Pool, model: ScriptedServer) -> None:
    thread = (await thread_with(client, "a", "b"))["id"]
    answered = await client.call("POST", f"/threads/{thread}/fork", {})
    fork = answered.body["id"]
    assert answered.headers["everthread-fork-origin"] == f"{thread}; version=3"
    rows = await pool.fetch(
        "SELECT stream_id, type, content::jsonb AS content, actor FROM events_readable"
        " WHERE type IN ('thread.forked', 'thread.created') ORDER BY at, version"
    )
    [created, recorded, forked] = rows
    assert (recorded["stream_id"], recorded["type"]) == (thread, "thread.forked")
    assert recorded["actor"].startswith("key:")
    assert (forked["stream_id"], forked["type"]) == (fork, "thread.created")
    assert f'"fork_id": "{fork}"' in recorded["content"]
    assert f'"origin": {{"version": 3, "thread_id": "{thread}"}}' in forked["content"]
    assert "origin" not in created["content"]


async def test_a_fork_at_a_version_a_message_a_run_and_a_time(client: Client, model: ScriptedServer) -> None:
    thread, _ = await conversation(client, model)
    messages = await listed(client, f"/threads/{thread}/messages")
    first_run, _ = await listed(client, f"/threads/{thread}/runs")

    async def texts(at: Any) -> list[str]:
        fork = await fork_of(client, thread, at=at)
        return [one["content"][0]["text"]["value"] for one in await listed(client, f"/threads/{fork['id']}/messages")]

    assert await texts(2) == ["How warm is it?"]
    assert await texts(messages[0]["id"]) == ["How warm is it?"]
    assert await texts(messages[2]["id"]) == ["How warm is it?", "Eight degrees.", "Thanks"]
    assert await texts(first_run["id"]) == ["How warm is it?", "Eight degrees."]
    assert len(await texts(4_000_000_000.5)) == 4
    assert len(await texts("2100-01-01T00:00:00Z")) == 4
    fork = await fork_of(client, thread, at=first_run["id"])
    [run] = await listed(client, f"/threads/{fork['id']}/runs")
    assert run["status"] == "completed"
    # And a fork of a fork, at objects that were copied.
    again = await fork_of(client, fork["id"], at=run["id"])
    assert len(await listed(client, f"/threads/{again['id']}/messages")) == 2
    fork_messages = await listed(client, f"/threads/{fork['id']}/messages")
    again = await fork_of(client, fork["id"], at=fork_messages[0]["id"])
    assert len(await listed(client, f"/threads/{again['id']}/messages")) == 1


@pytest.mark.parametrize("at", ["msg_none", "run_none"])
async def test_a_point_that_never_was(client: Client, at: str) -> None:
    thread = (await thread_with(client, "a"))["id"]
    assert (await client.call("POST", f"/threads/{thread}/fork", {"at": at})).status == 404


@pytest.mark.parametrize("at", [99, 0.5, "soon", True, [], {}, 2**63, 1e300, "x" * 300])
async def test_a_point_that_is_none(client: Client, at: Any) -> None:
    thread = (await thread_with(client, "a"))["id"]
    answered = await client.call("POST", f"/threads/{thread}/fork", {"at": at})
    assert answered.status in (400, 404)
    assert len(await listed(client, "/threads")) == 1


async def test_an_unfinished_run_is_cancelled_in_the_fork(client: Client, model: ScriptedServer) -> None:
    assistant = (await assistant_with(client, tools=[WEATHER]))["id"]
    thread = (await thread_with(client, "How warm is it?"))["id"]
    model.script(calls(("weather", {"city": "Oslo"})))
    run = await client.settled(await client.post(f"/threads/{thread}/runs", {"assistant_id": assistant}))
    assert run["status"] == "requires_action"
    fork = (await fork_of(client, thread))["id"]
    [copied] = await listed(client, f"/threads/{fork}/runs")
    assert (copied["status"], copied["required_action"], copied["expires_at"]) == ("cancelled", None, None)
    assert copied["cancelled_at"] is not None
    [step] = await listed(client, f"/threads/{fork}/runs/{copied['id']}/steps")
    assert step["status"] == "cancelled"
    assert (await client.get(f"/threads/{thread}/runs/{run['id']}"))["status"] == "requires_action"
    # The fork goes on at once.
    model.script(says("Warm."))
    new = await client.settled(await client.post(f"/threads/{fork}/runs", {"assistant_id": assistant}))
    assert await said_by(client, new) == ["Warm."]


async def test_a_new_run_reads_the_same_prompt_in_both_threads(client: Client, model: ScriptedServer) -> None:
    thread, assistant = await conversation(client, model)
    fork = (await fork_of(client, thread))["id"]
    for id in (thread, fork, thread, fork):
        await client.post(f"/threads/{id}/messages", {"role": "user", "content": "And now?"})
        model.script(says("Now."))
        await client.settled(await client.post(f"/threads/{id}/runs", {"assistant_id": assistant}))
    first, second, third, fourth = (request["messages"] for request in [*model.requests][-4:])
    assert first == second
    assert third == fourth


async def test_one_thread_outlives_the_deletion_of_the_other(client: Client, pool: Pool, model: ScriptedServer) -> None:
    thread, _ = await conversation(client, model)
    first, second = (await fork_of(client, thread))["id"], (await fork_of(client, thread))["id"]
    before = await contents(client, second)
    await client.delete(f"/threads/{first}")
    await contents(client, thread)
    await client.delete(f"/threads/{thread}")
    assert await contents(client, second) == before
    async with pool.acquire() as db:
        assert await verify(db, second) == []
    assert (await client.call("POST", f"/threads/{thread}/fork", {})).status == 404
    assert (await client.call("POST", f"/threads/{thread}/fork", {"at": 2})).status == 404


async def test_deleted_messages_are_only_in_forks_of_the_audit(client: Client, pool: Pool) -> None:
    thread = (await thread_with(client, "a", "b"))["id"]
    messages = await listed(client, f"/threads/{thread}/messages")
    await client.delete(f"/threads/{thread}/messages/{messages[1]['id']}")

    async def count(by: Client, **body: Any) -> int:
        fork = await fork_of(by, thread, **body)
        return len(await listed(client, f"/threads/{fork['id']}/messages"))

    assert (await count(client), await count(client, at=3)) == (1, 1)
    async with await as_key(client, pool, scope="audit:content") as auditor:
        assert (await count(auditor), await count(auditor, at=3)) == (1, 2)
    async with await as_key(client, pool, scope="read") as reader:
        assert (await reader.call("POST", f"/threads/{thread}/fork", {})).status == 403


async def test_a_key_of_another_project_finds_no_thread(client: Client, pool: Pool) -> None:
    thread = (await thread_with(client, "a"))["id"]
    await admin.create_project(writer(pool), "other", ids=IDS)
    async with await as_key(client, pool, project="other") as other:
        assert (await other.call("POST", f"/threads/{thread}/fork", {})).status == 404


async def test_the_metadata_of_a_fork(client: Client) -> None:
    thread = (await client.post("/threads", {"metadata": {"k": "v"}}))["id"]
    assert (await fork_of(client, thread))["metadata"] == {"k": "v"}
    assert (await fork_of(client, thread, metadata={"a": "b"}))["metadata"] == {"a": "b"}
    assert (await fork_of(client, thread, metadata={}))["metadata"] == {}


async def test_objects_of_a_fork_can_be_changed(client: Client, pool: Pool, model: ScriptedServer) -> None:
    thread, _ = await conversation(client, model)
    fork = (await fork_of(client, thread))["id"]
    found = await contents(client, fork)
    message, run = found["messages"][1], found["runs"][0]
    await client.post(f"/threads/{fork}/messages/{message['id']}", {"metadata": {"x": "y"}})
    await client.post(f"/threads/{fork}/runs/{run['id']}", {"metadata": {"x": "y"}})
    await client.delete(f"/threads/{fork}/messages/{found['messages'][0]['id']}")
    changed = await contents(client, fork)
    assert changed["messages"][0]["metadata"] == changed["runs"][0]["metadata"] == {"x": "y"}
    assert len(changed["messages"]) == len(found["messages"]) - 1
    async with pool.acquire() as db:
        assert await verify(db, fork) == []
    size = 1 + len(found["messages"]) + len(found["runs"]) + sum(map(len, found["steps"]))
    past = await contents(client, fork, at=str(size))
    assert past["messages"] == found["messages"][1:]
    assert past["runs"] == found["runs"]
    assert past["steps"] == found["steps"]


async def test_a_repeated_request_makes_one_fork(client: Client) -> None:
    thread = (await thread_with(client, "a"))["id"]
    first = await client.call("POST", f"/threads/{thread}/fork", {}, headers={"Idempotency-Key": "k"})
    await client.post(f"/threads/{thread}/messages", {"role": "user", "content": "b"})
    second = await client.call("POST", f"/threads/{thread}/fork", {}, headers={"Idempotency-Key": "k"})
    assert first.body == second.body
    assert len(await listed(client, "/threads")) == 2


async def test_a_fork_never_writes_into_the_store_of_its_origin(client: Client) -> None:
    file_id = await file_named(client, "a.txt")
    attached = {"role": "user", "content": "Look", "attachments": [{"file_id": file_id, "tools": FOR_SEARCH}]}
    thread = await client.post("/threads", {"messages": [attached]})
    fork = await fork_of(client, thread["id"])
    [shared] = (await client.get(f"/threads/{thread['id']}"))["tool_resources"]["file_search"]["vector_store_ids"]
    assert fork["tool_resources"]["file_search"]["vector_store_ids"] == [shared]
    await settled(client, shared)
    other = await file_named(client, "b.txt")
    body = {"role": "user", "content": "See", "attachments": [{"file_id": other, "tools": FOR_SEARCH}]}
    await client.post(f"/threads/{fork['id']}/messages", body)
    changed = await client.get(f"/threads/{fork['id']}")
    [own] = changed["tool_resources"]["file_search"]["vector_store_ids"]
    assert own != shared
    await settled(client, own)
    assert set(await files_of(client, shared)) == {file_id}
    assert set(await files_of(client, own)) == {file_id, other}
    third = await file_named(client, "c.txt")
    body = {"role": "user", "content": "See", "attachments": [{"file_id": third, "tools": FOR_SEARCH}]}
    await client.post(f"/threads/{fork['id']}/messages", body)
    assert set(await files_of(client, own)) == {file_id, other, third}
    assert (await client.get(f"/threads/{thread['id']}"))["tool_resources"] == fork["tool_resources"]
    await client.delete(f"/threads/{thread['id']}")
    await client.delete(f"/vector_stores/{shared}")
    assert (await client.get(f"/threads/{fork['id']}"))["tool_resources"] == changed["tool_resources"]


async def test_files_for_code_are_those_of_the_origin(client: Client) -> None:
    first, second = await file_named(client, "a.csv"), await file_named(client, "b.csv")
    tools = [{"type": "code_interpreter"}]
    attached = {"role": "user", "content": "Look", "attachments": [{"file_id": first, "tools": tools}]}
    thread = await client.post("/threads", {"messages": [attached]})
    fork = await fork_of(client, thread["id"])
    assert fork["tool_resources"]["code_interpreter"] == {"file_ids": [first]}
    body = {"role": "user", "content": "See", "attachments": [{"file_id": second, "tools": tools}]}
    await client.post(f"/threads/{fork['id']}/messages", body)
    changed = await client.get(f"/threads/{fork['id']}")
    assert changed["tool_resources"]["code_interpreter"] == {"file_ids": [first, second]}
    assert (await client.get(f"/threads/{thread['id']}"))["tool_resources"]["code_interpreter"]["file_ids"] == [first]


async def test_a_fork_fires_no_webhook_for_runs_that_it_copies(
    client: Client, pool: Pool, model: ScriptedServer
) -> None:
    thread, _ = await conversation(client, model)
    fork = (await fork_of(client, thread))["id"]
    rows = await pool.fetch("SELECT type FROM events WHERE stream_id = $1 ORDER BY version", fork)
    types = {row["type"] for row in rows}
    assert types == {"thread.created", "message.imported", "run.imported", "step.imported"}


@pytest.mark.parametrize("at", [True, [], {}])
async def test_a_point_of_another_type(client: Client, at: Any) -> None:
    thread = (await thread_with(client, "Hi"))["id"]
    answer = await client.call("POST", f"/threads/{thread}/fork", {"at": at})
    status, message, param, code = answer.error
    assert (status, param, code) == (400, "at", "invalid_type")
    assert message.startswith("Invalid type for 'at': expected an integer, a number or a string, but got ")


@pytest.mark.parametrize("at", [10**19, "x" * 257])
async def test_a_point_out_of_bounds(client: Client, at: Any) -> None:
    thread = (await thread_with(client, "Hi"))["id"]
    answer = await client.call("POST", f"/threads/{thread}/fork", {"at": at})
    assert (answer.status, answer.error[2]) == (400, "at")
