"""Vector stores that requests create: the helpers of assistants and threads, attachments, and files of v1."""

from __future__ import annotations

from typing import Any

import pytest

from projections.rebuild import verify
from service.database import Pool
from tests.client import V1, Client
from tests.http.helpers import assistant_with, run_of, thread_with
from tests.http.keys import as_key
from tests.http.stores import file_named, files_of, settled, store_with, thread_without_its_store
from tests.http.test_idempotency import sent, streamed
from tests.scripted import ScriptedServer, calls, says

SEARCH = {"tools": [{"type": "file_search"}]}
SMALL = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 50}}
FOR_SEARCH = [{"type": "file_search"}]
WEEK = {"anchor": "last_active_at", "days": 7}


def store_id(shown: Any) -> str:
    """Returns the one store that an assistant or a thread names."""
    [found] = shown["tool_resources"]["file_search"]["vector_store_ids"]
    return str(found)


def helper(*file_ids: str, **more: Any) -> dict[str, Any]:
    return {"tool_resources": {"file_search": {"vector_stores": [{"file_ids": file_ids, **more}]}}}


async def found_in_run(client: Client, model: ScriptedServer, assistant: Any) -> set[str]:
    """Returns the files in which a run of the assistant finds "high tide"."""
    thread = await thread_with(client, "When?")
    model.script(calls(("file_search", '{"queries": ["high tide"]}')), says("At six."))
    run = await client.settled(await client.post(f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"]}))
    assert run["status"] == "completed", run["last_error"]
    steps = await client.get(f"/threads/{thread['id']}/runs/{run['id']}/steps")
    [call] = next(one["step_details"]["tool_calls"] for one in steps["data"] if one["type"] == "tool_calls")
    return {one["file_id"] for one in call["file_search"]["results"]}


async def test_the_helper_of_an_assistant(client: Client) -> None:
    file_id = await file_named(client, "a.txt")
    made = await assistant_with(client, **SEARCH, **helper(file_id, chunking_strategy=SMALL, metadata={"k": "v"}))
    assert made["tool_resources"] == {"file_search": {"vector_store_ids": [store_id(made)]}}
    store = await settled(client, store_id(made))
    assert (store["metadata"], store["expires_after"]) == ({"k": "v"}, None)
    assert (await files_of(client, store["id"]))[file_id]["chunking_strategy"] == SMALL
    changed = await client.post(f"/assistants/{made['id']}", {"name": "n"})
    assert store_id(changed) == store["id"]


async def test_the_helper_of_a_thread(client: Client) -> None:
    file_id = await file_named(client, "a.txt")
    made = await client.post("/threads", helper(file_id))
    store = await client.get(f"/vector_stores/{store_id(made)}")
    assert store["expires_after"] == WEEK
    assert list(await files_of(client, store["id"])) == [file_id]


async def test_the_helper_of_a_thread_that_is_run(client: Client) -> None:
    assistant, file_id = await assistant_with(client, instructions="i"), await file_named(client, "a.txt")
    run = await client.post("/threads/runs", {"assistant_id": assistant["id"], "thread": helper(file_id)})
    thread = await client.get(f"/threads/{run['thread_id']}")
    assert list(await files_of(client, store_id(thread))) == [file_id]


@pytest.mark.parametrize("path", ["/assistants", "/threads"])
async def test_bad_resources(client: Client, path: str) -> None:
    store, file_id = await client.post("/vector_stores", {}), await file_named(client, "a.txt")

    async def refused(search: Any) -> tuple[int, str | None]:
        body = {"tool_resources": {"file_search": search}, **({"model": "gpt-4o"} if path == "/assistants" else {})}
        status, _, param, _ = (await client.call("POST", path, body)).error
        return status, param

    both = {"vector_store_ids": [store["id"]], "vector_stores": [{"file_ids": [file_id]}]}
    assert await refused(both) == (400, "tool_resources.file_search")
    assert (await refused({"vector_store_ids": ["vs_no"]}))[0] == 404
    assert (await refused({"vector_stores": [{"file_ids": ["file-no"]}]})) == (404, "id")
    assert (await refused({"vector_stores": [{}, {}]}))[0] == 400
    assert (await refused({"vector_store_ids": [store["id"]] * 2}))[0] == 400
    bad = {"type": "static", "static": {"max_chunk_size_tokens": 1, "chunk_overlap_tokens": 0}}
    assert (await refused({"vector_stores": [{"chunking_strategy": bad}]}))[0] == 400
    assert len((await client.get("/vector_stores"))["data"]) == 1, "nothing was made of what was refused"


async def test_attachments_are_in_the_threads_store(client: Client, pool: Pool) -> None:
    first, second, code = [await file_named(client, f"{name}.txt") for name in "abc"]
    thread = await thread_with(client, "Hi")
    messages = f"/threads/{thread['id']}/messages"

    async def say(file_id: str, kind: str) -> None:
        attachments = [{"file_id": file_id, "tools": [{"type": kind}]}]
        await client.post(messages, {"role": "user", "content": "Look", "attachments": attachments})

    await say(code, "code_interpreter")
    assert "file_search" not in (await client.get(f"/threads/{thread['id']}"))["tool_resources"]
    await say(first, "file_search")
    shown = await client.get(f"/threads/{thread['id']}")
    store = await client.get(f"/vector_stores/{store_id(shown)}")
    assert store["expires_after"] == WEEK
    await say(second, "file_search")
    await say(second, "file_search")
    assert store_id(await client.get(f"/threads/{thread['id']}")) == store["id"], "one store a thread"
    assert set(await files_of(client, store["id"])) == {first, second}
    await client.delete(f"/vector_stores/{store['id']}")
    await say(first, "file_search")
    assert list(await files_of(client, store["id"])) == [first], "made anew where it was deleted"
    async with pool.acquire() as db:
        assert await verify(db, thread["id"]) == []


async def test_attachments_of_a_new_thread(client: Client) -> None:
    file_id = await file_named(client, "a.txt")
    message = {"role": "user", "content": "Hi", "attachments": [{"file_id": file_id, "tools": FOR_SEARCH}]}
    thread = await client.post("/threads", {"messages": [message]})
    assert list(await files_of(client, store_id(thread))) == [file_id]
    assistant = await assistant_with(client)
    run = await client.post("/threads/runs", {"assistant_id": assistant["id"], "thread": {"messages": [message]}})
    await client.settled(run)
    thread = await client.get(f"/threads/{run['thread_id']}")
    assert list(await files_of(client, store_id(thread))) == [file_id]
    other = await file_named(client, "b.txt")
    more = {"role": "user", "content": "And", "attachments": [{"file_id": other, "tools": FOR_SEARCH}]}
    body = {"assistant_id": assistant["id"], "additional_messages": [more]}
    await client.post(f"/threads/{thread['id']}/runs", body)
    assert set(await files_of(client, store_id(thread))) == {file_id, other}


async def test_nothing_is_attached_of_what_is_refused(client: Client, model: ScriptedServer) -> None:
    file_id, other = await file_named(client, "a.txt"), await file_named(client, "b.txt")
    message = {"role": "user", "content": "Hi", "attachments": [{"file_id": file_id, "tools": FOR_SEARCH}]}
    thread = await client.post("/threads", {"messages": [message]})
    late = {**message, "attachments": [{"file_id": other, "tools": FOR_SEARCH}]}
    assistant = await assistant_with(client)
    model.script(says("x").holds("busy"))
    run = await client.post(f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"]})
    await model.wait_for_gate("busy")
    refused = await client.call("POST", f"/threads/{thread['id']}/messages", late)
    assert refused.error[:2] == (400, f"Can't add messages to {thread['id']} while a run {run['id']} is active.")
    body = {"assistant_id": assistant["id"], "additional_messages": [late]}
    refused = await client.call("POST", f"/threads/{thread['id']}/runs", body)
    assert refused.error[:2] == (400, f"Thread {thread['id']} already has an active run {run['id']}.")
    refused = await client.call("POST", "/threads/thread_no/messages", late)
    assert refused.status == 404
    assert list(await files_of(client, store_id(thread))) == [file_id]
    assert len((await client.get("/vector_stores"))["data"]) == 1
    model.open_gate("busy")


async def test_attachments_go_to_the_store_that_the_thread_names(client: Client) -> None:
    mine, file_id = await client.post("/vector_stores", {}), await file_named(client, "a.txt")
    resources = {"tool_resources": {"file_search": {"vector_store_ids": [mine["id"]]}}}
    thread = await client.post("/threads", resources)
    message = {"role": "user", "content": "Hi", "attachments": [{"file_id": file_id, "tools": FOR_SEARCH}]}
    await client.post(f"/threads/{thread['id']}/messages", message)
    assert list(await files_of(client, mine["id"])) == [file_id]
    await client.delete(f"/vector_stores/{mine['id']}")
    await client.post(f"/threads/{thread['id']}/messages", message)
    own = store_id(await client.get(f"/threads/{thread['id']}"))
    assert own != mine["id"]
    assert list(await files_of(client, own)) == [file_id]


@pytest.mark.slow
@pytest.mark.parametrize("streams", [False, True])
async def test_a_run_that_was_refused_once_its_thread_was_told_of_a_store(
    client: Client, pool: Pool, model: ScriptedServer, streams: bool
) -> None:
    """The next try under the same Idempotency-Key creates the store, and only that one."""
    model.script(says("Slow.").holds("gate"), says("Fine."))
    async with await as_key(client, pool, max_runs=1) as limited:
        thread, message = await thread_without_its_store(limited)
        first = await run_of(limited, "Hi")
        path = f"/threads/{thread['id']}"
        body = {"assistant_id": first["assistant_id"], "additional_messages": [message], "stream": streams}
        assert (await sent(limited, path + "/runs", body)).status == 429
        told = await limited.get(path)
        assert store_id(told) != store_id(thread)
        await model.wait_for_gate("gate")
        model.open_gate("gate")
        await limited.settled(first)
        tries = []
        for _ in range(2):
            if streams:
                tries.append((await streamed(limited, path + "/runs", body))[0].data)
            else:
                tries.append((await sent(limited, path + "/runs", body)).body)
        assert tries[0] == tries[1]
        assert (await limited.settled(tries[0]))["status"] == "completed"
        assert [one["id"] for one in (await limited.get(path + "/runs"))["data"]] == [tries[0]["id"]]
        messages = (await limited.get(path + "/messages"))["data"]
        assert [one["attachments"] for one in messages if one["role"] == "user"] == [message["attachments"]]
        assert await limited.get(path) == told
        assert list(await files_of(limited, store_id(told))) == [message["attachments"][0]["file_id"]]


@pytest.mark.slow
async def test_retrieval_of_v1_searches_its_files(client: Client) -> None:
    ids = [await file_named(client, f"{name}.txt") for name in "abc"]
    async with Client(client.base_url, V1) as old:
        made = await old.post("/assistants", {"model": "m", "tools": [{"type": "retrieval"}], "file_ids": ids[:2]})
        assert made["file_ids"] == ids[:2]
        path = f"/assistants/{made['id']}"
        store = store_id(await client.get(path))
        assert set(await files_of(client, store)) == set(ids[:2])
        await old.post(path + "/files", {"file_id": ids[2]})
        assert set(await files_of(client, store)) == set(ids)
        await old.delete(f"{path}/files/{ids[0]}")
        assert set(await files_of(client, store)) == set(ids[1:])
        changed = await old.post(path, {"file_ids": [ids[0]]})
        assert changed["file_ids"] == [ids[0]]
        assert list(await files_of(client, store)) == [ids[0]]
        assert "tool_resources" not in changed
        assert "tool_resources" not in await old.get(path)
    shown = await client.get(path)
    assert shown["tool_resources"]["code_interpreter"] == {"file_ids": [ids[0]]}
    assert store_id(shown) == store


async def test_files_of_v1_are_searched_once_they_may_be(client: Client) -> None:
    """Without the tool retrieval there is no store. The tool may be added later, or by a run."""
    file_id = await file_named(client, "a.txt")
    async with Client(client.base_url, V1) as old:
        made = await old.post("/assistants", {"model": "m", "file_ids": [file_id]})
        assert "file_search" not in (await client.get(f"/assistants/{made['id']}"))["tool_resources"]
        await old.post(f"/assistants/{made['id']}", {"tools": [{"type": "retrieval"}]})
        assert list(await files_of(client, store_id(await client.get(f"/assistants/{made['id']}")))) == [file_id]
        other = await old.post("/assistants", {"model": "m", "file_ids": [file_id]})
        thread = await old.post("/threads", {"messages": [{"role": "user", "content": "Hi"}]})
        body = {"assistant_id": other["id"], "tools": [{"type": "retrieval"}]}
        run = await old.post(f"/threads/{thread['id']}/runs", body)
        run = await client.get(f"/threads/{thread['id']}/runs/{run['id']}")
        assert list(await files_of(client, store_id(run))) == [file_id]
        assert (await old.post(f"/assistants/{other['id']}", {"file_ids": []}))["file_ids"] == []
        assert list(await files_of(client, store_id(run))) == [], "no run finds what is not the assistant's any more"


async def test_files_of_v1s_messages_are_the_threads(client: Client) -> None:
    file_id = await file_named(client, "a.txt")
    async with Client(client.base_url, V1) as old:
        thread = await old.post("/threads", {})
        message = {"role": "user", "content": "Hi", "file_ids": [file_id]}
        assert (await old.post(f"/threads/{thread['id']}/messages", message))["file_ids"] == [file_id]
        assert "tool_resources" not in await old.get(f"/threads/{thread['id']}")
    assert list(await files_of(client, store_id(await client.get(f"/threads/{thread['id']}")))) == [file_id]


@pytest.mark.slow
async def test_v2_may_send_back_what_it_was_shown(client: Client, model: ScriptedServer) -> None:
    """The assistant does not name the store of v1's files, and runs search it all the same."""
    file_id, store = (
        await file_named(client, "tides.txt", "High tide is at six."),
        await store_with(client, "boats.txt"),
    )
    made = await assistant_with(client, **SEARCH, tool_resources={"file_search": {"vector_store_ids": [store["id"]]}})
    path = f"/assistants/{made['id']}"
    async with Client(client.base_url, V1) as old:
        await old.post(path, {"file_ids": [file_id]})
    shown = await client.get(path)
    assert await client.post(path, {"tool_resources": shown["tool_resources"]}) == shown
    assert file_id in await found_in_run(client, model, made)


@pytest.mark.slow
async def test_v1_leaves_a_store_of_v2_in_its_place(client: Client, model: ScriptedServer) -> None:
    """v2 neither adds to that store nor removes from it. Its own files are in another store, which is searched too."""
    file_id = await file_named(client, "tides.txt", "High tide is at six.")
    store = await store_with(client, "boats.txt")
    for helper in (False, True):
        given = {"vector_stores": [{"file_ids": [file_id]}]} if helper else {"vector_store_ids": [store["id"]]}
        made = await assistant_with(client, **SEARCH, tool_resources={"file_search": given})
        path, named = f"/assistants/{made['id']}", store_id(made)
        before = list(await files_of(client, named))
        async with Client(client.base_url, V1) as old:
            await old.post(path, {"file_ids": [file_id]})
            assert store_id(await client.get(path)) == named
            assert list(await files_of(client, named)) == before
            assert await found_in_run(client, model, made) == {file_id}
            await old.post(path, {"file_ids": []})
        assert store_id(await client.get(path)) == named
        assert list(await files_of(client, named)) == before
        assert await found_in_run(client, model, made) == ({file_id} if helper else set())


async def test_a_run_with_several_messages_that_attach_files(client: Client, model: ScriptedServer, pool: Pool) -> None:
    model.script(says("Fine."))
    assistant = await assistant_with(client, tools=[{"type": "code_interpreter"}])
    thread = await thread_with(client, "Hi")
    names = [await file_named(client, f"{number}.txt") for number in range(3)]
    messages = [
        {
            "role": "user",
            "content": "See this.",
            "attachments": [{"file_id": name, "tools": [{"type": "code_interpreter"}]}],
        }
        for name in names
    ]
    body = {"assistant_id": assistant["id"], "additional_messages": messages}
    await client.settled(await client.post(f"/threads/{thread['id']}/runs", body))
    shown = await client.get(f"/threads/{thread['id']}")
    assert shown["tool_resources"]["code_interpreter"]["file_ids"] == names
    async with pool.acquire() as db:
        assert await verify(db, thread["id"]) == []
