"""Runs that search: the model's input, the step, citations, waiting, expiry, and v1's retrieval."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from service.database import Pool
from service.tools import file_search
from tests.client import V1, Client
from tests.conftest import StartServer
from tests.fake_search_engine import FakeSearchEngine
from tests.http.helpers import assistant_with, run_of, said_by, thread_with
from tests.http.stores import file_named, settled
from tests.scripted import ScriptedServer, calls, says

TIDES = "High tide is at six and at half past six in the evening."
BOATS = "The boat to the island leaves at nine. Tickets cost two crowns."
CONTENT = "step_details.tool_calls[*].file_search.results[*].content"
ASKS = '{"queries": ["when is high tide"]}'


def searching(store_id: str | None = None, **settings: Any) -> dict[str, Any]:
    tool = {"type": "file_search", "file_search": settings} if settings else {"type": "file_search"}
    named = {"tool_resources": {"file_search": {"vector_store_ids": [store_id]}}} if store_id else {}
    return {"tools": [tool], **named}


async def filed(client: Client, name: str, content: str, **settings: Any) -> Any:
    """Creates a store with one indexed file."""
    file_id = await file_named(client, name, content)
    made = await client.post("/vector_stores", {"file_ids": [file_id], **settings})
    return {**await settled(client, made["id"]), "file": file_id}


async def searched(client: Client, run: Any, **query: str) -> Any:
    """Returns the only call of the run's tool_calls step."""
    path = f"/threads/{run['thread_id']}/runs/{run['id']}/steps"
    found = await client.get(path, **query)
    [step] = [one for one in found["data"] if one["type"] == "tool_calls"]
    assert await client.get(f"{path}/{step['id']}", **query) == step
    [call] = step["step_details"]["tool_calls"]
    return call


async def test_both_stores_are_searched_and_cited(client: Client, model: ScriptedServer) -> None:
    mine, threads = await filed(client, "tides.txt", TIDES), await filed(client, "boats.txt", BOATS)
    assistant = await assistant_with(client, **searching(mine["id"]))
    thread = await client.post(
        "/threads",
        {
            "messages": [{"role": "user", "content": "When is high tide?"}],
            "tool_resources": {"file_search": {"vector_store_ids": [threads["id"]]}},
        },
    )
    answer = "At six【4:0†tides.txt】; the boat at nine【4:1†boats.txt】, not ten【4:7†none.txt】."
    model.script(
        calls(("file_search", '{"queries": ["high tide is at", "boat to the island"]}')), says(answer, pieces=9)
    )
    run = await client.settled(await client.post(f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"]}))
    assert run["status"] == "completed", run["last_error"]

    asked, then = await model.next_request(), await model.next_request()
    [function] = asked["tools"]
    assert function["function"]["name"] == "file_search"
    assert any(file_search.CITE in str(message["content"]) for message in asked["messages"])
    told = then["messages"][-1]
    assert told["role"] == "tool"
    assert f"【4:0†tides.txt】\n{TIDES}\n" in told["content"]
    assert f"【4:1†boats.txt】\n{BOATS}\n" in told["content"]

    call = await searched(client, run)
    assert call["file_search"]["ranking_options"] == {"ranker": "default_2024_08_21", "score_threshold": 0.0}
    results = call["file_search"]["results"]
    assert [(one["file_id"], one["file_name"], one["attributes"]) for one in results] == [
        (mine["file"], "tides.txt", {}),
        (threads["file"], "boats.txt", {}),
    ]
    assert all("content" not in one and 0 < one["score"] <= 1 for one in results)
    shown = await searched(client, run, **{"include[]": CONTENT})
    assert [one["content"] for one in shown["file_search"]["results"]] == [
        [{"type": "text", "text": TIDES}],
        [{"type": "text", "text": BOATS}],
    ]
    [message] = (await client.get(f"/threads/{thread['id']}/messages", run_id=run["id"]))["data"]
    text = message["content"][0]["text"]
    assert text["value"] == answer
    cited = [(one["text"], one["file_citation"]["file_id"]) for one in text["annotations"]]
    assert cited == [("【4:0†tides.txt】", mine["file"]), ("【4:1†boats.txt】", threads["file"])]
    assert all(answer[one["start_index"] : one["end_index"]] == one["text"] for one in text["annotations"])


async def test_a_file_in_both_stores_takes_no_others_place(client: Client, model: ScriptedServer) -> None:
    mine = await filed(client, "tides.txt", TIDES)
    assistant = await assistant_with(client, **searching(mine["id"], max_num_results=2))
    both = [mine["file"], await file_named(client, "boats.txt", BOATS)]
    resources = {"file_search": {"vector_stores": [{"file_ids": both}]}}
    message = {"role": "user", "content": "When is high tide?"}
    thread = await client.post("/threads", {"messages": [message], "tool_resources": resources})
    model.script(calls(("file_search", '{"queries": ["high tide is at", "boat"]}')), says("At six."))
    run = await client.settled(await client.post(f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"]}))
    found = (await searched(client, run))["file_search"]["results"]
    assert [one["file_id"] for one in found] == both


async def test_markers_are_never_given_out_twice_in_a_thread(client: Client, model: ScriptedServer) -> None:
    """The model still sees the results of an earlier run, and may cite them beside a file of the same name."""
    store = await filed(client, "report.txt", TIDES)
    other = await file_named(client, "report.txt", BOATS)
    await client.post(f"/vector_stores/{store['id']}/files", {"file_id": other})
    await settled(client, store["id"])
    assistant = await assistant_with(client, **searching(store["id"], max_num_results=1))
    thread = await thread_with(client, "When is high tide?")
    found = {"high tide": store["file"], "boat to the island": other}
    for query, answer in zip(
        found, ("At six【4:0†report.txt】.", "At nine【5:0†report.txt】【4:0†report.txt】."), strict=True
    ):
        model.script(calls(("file_search", f'{{"queries": ["{query}"]}}')), says(answer))
        body = {"assistant_id": assistant["id"], "additional_messages": [{"role": "user", "content": query}]}
        run = await client.settled(await client.post(f"/threads/{thread['id']}/runs", body))
        [result] = (await searched(client, run))["file_search"]["results"]
        assert result["file_id"] == found[query]
    [message] = (await client.get(f"/threads/{thread['id']}/messages", run_id=run["id"]))["data"]
    cited = [one["file_citation"]["file_id"] for one in message["content"][0]["text"]["annotations"]]
    assert cited == [other, store["file"]]


@pytest.mark.slow
async def test_the_tools_settings_hold(client: Client, model: ScriptedServer, search_engine: FakeSearchEngine) -> None:
    store = await filed(client, "tides.txt", TIDES * 3)
    options = {"ranker": "default_2024_08_21", "score_threshold": 0.9}
    for settings, count in (
        ({}, 2),
        ({"max_num_results": 1}, 1),
        ({"ranking_options": options}, 0),
    ):
        model.script(calls(("file_search", '{"queries": ["tide nowhere"]}')), says("So it is."))
        run = await client.settled(await run_of(client, "When?", **searching(store["id"], **settings)))
        call = await searched(client, run)
        assert len(call["file_search"]["results"]) == count, settings
        assert call["file_search"]["ranking_options"] == settings.get(
            "ranking_options", {**options, "score_threshold": 0.0}
        )
        [_, then] = await model.next_request(), await model.next_request()
        assert ("Nothing was found." in then["messages"][-1]["content"]) == (count == 0)


async def test_a_search_waits_for_the_threads_store(
    client: Client, model: ScriptedServer, search_engine: FakeSearchEngine
) -> None:
    file_id = await file_named(client, "slow.txt", TIDES)
    assistant = await assistant_with(client, **searching())
    attached = {"attachments": [{"file_id": file_id, "tools": [{"type": "file_search"}]}]}
    message = {"role": "user", "content": "When is high tide?", **attached}
    thread = await client.post("/threads", {"messages": [message]})
    model.script(calls(("file_search", ASKS)), says("At six【4:0†slow.txt】."))
    run = await client.post(f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"]})
    await model.next_request()
    await search_engine.until_started(1)
    assert search_engine.searches == []
    search_engine.release()
    run = await client.settled(run)
    assert [one["file_id"] for one in (await searched(client, run))["file_search"]["results"]] == [file_id]
    assert await said_by(client, run) == ["At six【4:0†slow.txt】."]


async def test_patience_ends(
    client: Client, model: ScriptedServer, search_engine: FakeSearchEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_search, "PATIENCE_S", 0.0)
    file_id = await file_named(client, "slow.txt", TIDES)
    assistant = await assistant_with(client, **searching())
    thread = await client.post(
        "/threads",
        {
            "messages": [{"role": "user", "content": "When?"}],
            "tool_resources": {"file_search": {"vector_stores": [{"file_ids": [file_id]}]}},
        },
    )
    model.script(calls(("file_search", ASKS)), says("I cannot tell."))
    run = await client.settled(await client.post(f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"]}))
    assert run["status"] == "completed"
    [_, then] = await model.next_request(), await model.next_request()
    assert then["messages"][-1]["content"].startswith("Some files are still being indexed")
    search_engine.release()


@pytest.mark.slow
async def test_an_expired_store_of_the_thread_fails_the_run(client: Client, model: ScriptedServer, pool: Pool) -> None:
    week = {"anchor": "last_active_at", "days": 1}
    store = await filed(client, "tides.txt", TIDES, expires_after=week)
    assistant = await assistant_with(client, **searching())
    resources = {"tool_resources": {"file_search": {"vector_store_ids": [store["id"]]}}}
    thread = await client.post("/threads", {"messages": [{"role": "user", "content": "When?"}], **resources})
    await pool.execute(
        "UPDATE vector_stores SET last_active_at = 1000, expires_at = 1 WHERE store_id = $1", store["id"]
    )
    run = await client.settled(await client.post(f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"]}))
    assert run["status"] == "failed"
    assert run["last_error"] == {"code": "server_error", "message": file_search.EXPIRED.format(id=store["id"])}
    other = await client.settled(await run_of(client, "When?", **searching(store["id"])))
    assert other["status"] == "completed", "the assistant's own may have expired: there is nothing to find in it"


@pytest.mark.slow
async def test_calls_that_ask_for_nothing(
    client: Client, model: ScriptedServer, search_engine: FakeSearchEngine
) -> None:
    store = await filed(client, "tides.txt", TIDES)
    for arguments, told in (
        ("{}", "The search was not made"),
        ('{"queries": [" ", 7]}', "The search was not made"),
        ('{"queries": "when is high tide"}', TIDES),
        ('{"query": "when is high tide"}', TIDES),
        ('{"queries": ["when\\u0000is high tide", "\\u0000"]}', TIDES),
    ):
        model.script(calls(("file_search", arguments)), says("So it is."))
        run = await client.settled(await run_of(client, "When?", **searching(store["id"])))
        assert run["status"] == "completed"
        [_, then] = await model.next_request(), await model.next_request()
        assert told in then["messages"][-1]["content"]
    assert search_engine.searches[-1]["queries"] == ["when is high tide"], "Postgres takes no NUL"


async def test_stores_that_are_gone_are_no_hindrance(client: Client, model: ScriptedServer) -> None:
    store = await filed(client, "tides.txt", TIDES)
    assistant = await assistant_with(client, **searching(store["id"]))
    await client.delete(f"/vector_stores/{store['id']}")
    thread = await client.post("/threads", {"messages": [{"role": "user", "content": "When?"}]})
    model.script(calls(("file_search", ASKS)), says("I cannot tell."))
    run = await client.settled(await client.post(f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"]}))
    asked = await model.next_request()
    assert any(file_search.NO_STORES in str(message["content"]) for message in asked["messages"])
    assert (await searched(client, run))["file_search"]["results"] == []


async def test_what_a_search_brought_is_streamed_and_cited(client: Client, model: ScriptedServer) -> None:
    store = await filed(client, "tides.txt", TIDES)
    assistant = await assistant_with(client, **searching(store["id"]))
    thread = await thread_with(client, "When?")
    pieces = ["At six", "【4:0", "†tid", "es.txt】", "."]
    model.script(calls(("file_search", ASKS)), says("".join(pieces), pieces=pieces))
    path = f"/threads/{thread['id']}/runs?include[]={CONTENT}"
    body = {"assistant_id": assistant["id"], "stream": True}
    frames = [frame async for frame in client.stream(path, body)]
    [delta] = [frame.data for frame in frames if frame.event == "thread.run.step.delta"]
    [call] = delta["delta"]["step_details"]["tool_calls"]
    assert (call["type"], call["file_search"]["results"]) == ("file_search", [])
    done = next(frame.data for frame in frames if frame.event == "thread.run.step.completed")
    [result] = done["step_details"]["tool_calls"][0]["file_search"]["results"]
    assert result["content"] == [{"type": "text", "text": TIDES}]
    texts = [frame.data["delta"]["content"][0]["text"] for frame in frames if frame.event == "thread.message.delta"]
    [cited] = [text for text in texts if text.get("annotations")]
    assert cited["value"] == "【4:0†tides.txt】"
    assert cited["annotations"][0]["file_citation"] == {"file_id": store["file"], "quote": ""}
    assert "".join(text["value"] for text in texts) == "At six【4:0†tides.txt】."


def citations(text: Any) -> list[Any]:
    """Returns the file_citation of each annotation of a text."""
    return [one["file_citation"] for one in text.get("annotations") or ()]


@pytest.mark.parametrize("quotes", ["off", "on"])
async def test_quotes_are_shown_on_request(
    start_server: StartServer, client: Client, model: ScriptedServer, quotes: str
) -> None:
    """The setting decides, or the header for one request. v2's document has no quotes: nothing is validated."""
    store = await filed(client, "tides.txt", TIDES)
    assistant = await assistant_with(client, **searching(store["id"]))
    hidden, shown = {"file_id": store["file"]}, {"file_id": store["file"], "quote": TIDES}
    headers: tuple[dict[str, str], ...] = ({}, {"Everthread-Quotes": "on"}, {"Everthread-Quotes": " Off"})
    async with start_server(quotes=quotes) as other:
        other.validate = False
        plain = dict(other.headers)
        for more in headers:
            visible = (more.get("Everthread-Quotes") or quotes) == "on"
            other.headers = {**plain, **more}
            thread = await thread_with(other, "When?")
            model.script(calls(("file_search", ASKS)), says("At six【4:0†tides.txt】."))
            frames = await other.frames(
                f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"], "stream": True}
            )
            deltas = [
                frame.data["delta"]["content"][0]["text"] for frame in frames if frame.event.endswith("message.delta")
            ]
            assert [one for text in deltas for one in citations(text)] == [
                shown if visible else {**hidden, "quote": ""}
            ]
            done = next(frame.data for frame in frames if frame.event == "thread.message.completed")
            path = f"/threads/{thread['id']}/messages"
            listed = (await other.get(path))["data"][0]
            changed = await other.post(f"{path}/{done['id']}", {"metadata": {"a": "b"}})
            for message in (done, listed, changed, await other.get(f"{path}/{done['id']}")):
                assert citations(message["content"][0]["text"]) == [shown if visible else hidden]
        refused = await other.call("GET", path, headers={"Everthread-Quotes": "yes"})
        message = "Invalid value for the header 'Everthread-Quotes': 'yes'. Supported values are: 'on', 'off'."
        assert refused.error == (400, message, None, None)


async def test_retrieval_of_v1_quotes(client: Client, model: ScriptedServer) -> None:
    file_id = await file_named(client, "tides.txt", TIDES)
    async with Client(client.base_url, V1) as old:
        assistant = await old.post(
            "/assistants", {"model": "gpt-4", "tools": [{"type": "retrieval"}], "file_ids": [file_id]}
        )
        thread = await old.post("/threads", {"messages": [{"role": "user", "content": "When is high tide?"}]})
        async with asyncio.timeout(20):
            while not (stores := (await client.get("/vector_stores"))["data"]) or stores[0]["status"] != "completed":
                await asyncio.sleep(0.005)
        model.script(calls(("file_search", ASKS)), says("At six【4:0†tides.txt】."))
        run = await old.settled(await old.post(f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"]}))
        assert run["status"] == "completed", run["last_error"]
        [message] = [
            one for one in (await old.get(f"/threads/{thread['id']}/messages"))["data"] if one["role"] == "assistant"
        ]
        [cited] = message["content"][0]["text"]["annotations"]
        assert cited["file_citation"] == {"file_id": file_id, "quote": TIDES}
        steps = (await old.get(f"/threads/{thread['id']}/runs/{run['id']}/steps"))["data"]
        [call] = steps[-1]["step_details"]["tool_calls"]
        assert (call["type"], call["retrieval"]) == ("retrieval", {})
