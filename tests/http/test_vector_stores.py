"""Vector stores over HTTP: create, modify, expire, delete and search."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from events.actors import CommandLineActor
from events.envelope import Origin
from events.file import DeleteFile
from events.project import DEFAULT_PROJECT
from projections.rebuild import verify
from service.database import Pool
from service.search import query_rewrite
from service.vector_stores.upkeep import Upkeep
from service.writer import Writer
from tests.client import V1, Client
from tests.clock import CLOCK, WallClock
from tests.conftest import StartServer
from tests.fake_search_engine import WAIT_S, FakeSearchEngine
from tests.http.helpers import assistant_with
from tests.http.stores import file_named, files_of, searched, settled, store_with
from tests.projections.helpers import writer
from tests.scripted import ScriptedServer, errors, says

DAY = 86_400


async def test_the_life_of_a_store(client: Client) -> None:
    made = await client.post("/vector_stores", {})
    assert made == {
        "id": made["id"],
        "object": "vector_store",
        "created_at": made["created_at"],
        "name": None,
        "description": None,
        "usage_bytes": 0,
        "file_counts": {"in_progress": 0, "completed": 0, "failed": 0, "cancelled": 0, "total": 0},
        "status": "completed",
        "expires_after": None,
        "expires_at": None,
        "last_active_at": made["created_at"],
        "metadata": {},
    }
    path = f"/vector_stores/{made['id']}"
    changes = {"name": "n", "metadata": {"k": "v"}, "expires_after": {"anchor": "last_active_at", "days": 3}}
    changed = await client.post(path, changes)
    assert {key: changed[key] for key in changes} == changes
    assert changed["expires_at"] == changed["last_active_at"] + 3 * DAY
    assert (await client.post(path, {}))["name"] == "n", "an absent key keeps"
    cleared = await client.post(path, {"name": None, "expires_after": None})
    assert (cleared["name"], cleared["expires_after"], cleared["expires_at"]) == (None, None, None)
    assert cleared["metadata"] == {"k": "v"}
    assert await client.get(path) == cleared
    assert await client.delete(path) == {"id": made["id"], "object": "vector_store.deleted", "deleted": True}
    for method in ("GET", "POST", "DELETE"):
        answer = await client.call(method, path, {} if method == "POST" else None)
        assert answer.error == (404, f"No vector store found with id '{made['id']}'.", None, None)


async def test_stores_are_listed(client: Client) -> None:
    ids = [(await client.post("/vector_stores", {"name": str(n)}))["id"] for n in range(5)]
    listed = await client.get("/vector_stores", limit="2", order="asc")
    assert ([one["id"] for one in listed["data"]], listed["has_more"]) == (ids[:2], True)
    await client.delete(f"/vector_stores/{ids[1]}")
    listed = await client.get("/vector_stores", order="asc", after=ids[1])
    assert [one["id"] for one in listed["data"]] == ids[2:], "a deleted store keeps its place"
    listed = await client.get("/vector_stores")
    assert [one["id"] for one in listed["data"]] == [ids[4], ids[3], ids[2], ids[0]]
    listed = await client.get("/vector_stores", before=ids[2])
    assert [one["id"] for one in listed["data"]] == [ids[4], ids[3]]


async def test_files_are_counted_while_they_are_indexed(client: Client, search_engine: FakeSearchEngine) -> None:
    ids = [await file_named(client, name) for name in ("good.txt", "slow.txt", "bad.pdf")]
    made = await client.post("/vector_stores", {"file_ids": ids})
    assert (made["status"], made["file_counts"]["in_progress"]) == ("in_progress", 3)
    async with asyncio.timeout(WAIT_S):
        while (found := await client.get(f"/vector_stores/{made['id']}"))["file_counts"]["in_progress"] > 1:
            await asyncio.sleep(0.005)
    assert found["file_counts"] == {"in_progress": 1, "completed": 1, "failed": 1, "cancelled": 0, "total": 3}
    assert (found["status"], found["usage_bytes"]) == ("in_progress", 10)
    search_engine.release()
    found = await settled(client, made["id"])
    assert (found["status"], found["file_counts"]["completed"], found["usage_bytes"]) == ("completed", 2, 20)


async def test_a_store_expires_after_its_last_use(
    client: Client, search_engine: FakeSearchEngine, pool: Pool, wall: WallClock
) -> None:
    made = await store_with(client, "a.txt", expires_after={"anchor": "last_active_at", "days": 1})
    wall.skip(12 * 3600)
    path = f"/vector_stores/{made['id']}"
    assert len(await searched(client, made["id"], "text.")) == 1
    used = await client.get(path)
    assert used["last_active_at"] > made["last_active_at"] + 40_000
    assert used["expires_at"] == used["last_active_at"] + DAY
    wall.skip(25 * 3600)
    assert (await client.get(path))["status"] == "expired", "whether anybody has noticed or not"
    answer = await client.call("POST", path + "/search", {"query": "text"})
    assert answer.error == (400, f"Vector store {made['id']} is expired.", None, None)
    another = await file_named(client, "b.txt")
    answer = await client.call("POST", path + "/files", {"file_id": another})
    assert answer.error == (400, f"Vector store {made['id']} is expired.", None, None)
    await Upkeep(writer(pool, wall), search_engine).expire(wall.now())
    shown = await client.get(path)
    assert (shown["status"], shown["usage_bytes"], shown["file_counts"]["completed"]) == ("expired", 0, 1)
    assert len(await files_of(client, made["id"])) == 1, "what was in it can be put into a new one"
    await search_engine.sweep()
    assert not search_engine.chunks
    async with pool.acquire() as db:
        assert await verify(db, made["id"]) == []


async def test_searching(client: Client, search_engine: FakeSearchEngine) -> None:
    first = await file_named(client, "fruit.txt", "apples and pears")
    second = await file_named(client, "trees.txt", "oaks and pears")
    store = await client.post("/vector_stores", {})
    path = f"/vector_stores/{store['id']}"
    for id, kind in ((first, "fruit"), (second, "tree")):
        await client.post(path + "/files", {"file_id": id, "attributes": {"kind": kind, "year": 2024, "ok": True}})
    await settled(client, store["id"])
    found = await client.post(path + "/search", {"query": "apples pears"})
    assert found == {
        "object": "vector_store.search_results.page",
        "search_query": ["apples pears"],
        "data": [
            {
                "file_id": first,
                "filename": "fruit.txt",
                "score": 1.0,
                "attributes": {"kind": "fruit", "year": 2024, "ok": True},
                "content": [{"type": "text", "text": "apples and pears"}],
            },
            {
                "file_id": second,
                "filename": "trees.txt",
                "score": 0.5,
                "attributes": {"kind": "tree", "year": 2024, "ok": True},
                "content": [{"type": "text", "text": "oaks and pears"}],
            },
        ],
        "has_more": False,
        "next_page": None,
    }
    assert len(await searched(client, store["id"], ["apples", "oaks"], max_num_results=1)) == 1
    high = {"ranker": "default-2024-11-15", "score_threshold": 0.9}
    [hit] = await searched(client, store["id"], "apples pears", ranking_options=high, rewrite_query=True)
    assert hit["file_id"] == first
    assert search_engine.searches[-1]["ranker"] == "default-2024-11-15"
    assert search_engine.searches[-1]["queries"] == ["apples pears"], "no setting says by what to rewrite it"
    tree = {"type": "eq", "key": "kind", "value": "tree"}
    nested = {"type": "and", "filters": [tree, {"type": "or", "filters": [{"type": "gt", "key": "year", "value": 1}]}]}
    for filters in (tree, nested, {"type": "in", "key": "kind", "value": ["tree", "bush"]}):
        [hit] = await searched(client, store["id"], "pears", filters=filters)
        assert hit["file_id"] == second
    assert await searched(client, store["id"], "pears", filters={"type": "ne", "key": "year", "value": 2024}) == []
    await client.post(f"{path}/files/{second}", {"attributes": {"kind": "fruit"}})
    assert await searched(client, store["id"], "pears", filters=tree) == [], "changed attributes count at once"


EQ = {"type": "eq", "key": "k", "value": 1}

IN_501 = {"type": "in", "key": "k", "value": list(range(501))}


def deep(levels: int) -> Any:
    found: Any = EQ
    for _ in range(levels):
        found = {"type": "and", "filters": [found]}
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({}, "query", "missing_required_parameter"),
        ({"query": 7}, "query", "invalid_type"),
        ({"query": ""}, "query", "empty_string"),
        ({"query": []}, "query", "empty_array"),
        ({"query": ["a", 7]}, "query[1]", "invalid_type"),
        ({"query": "x" * 4097}, "query", "string_above_max_length"),
        ({"query": "a", "max_num_results": 0}, "max_num_results", "integer_below_min_value"),
        ({"query": "a", "max_num_results": 51}, "max_num_results", "integer_above_max_value"),
        ({"query": "a", "ranking_options": {"ranker": "best"}}, "ranking_options.ranker", "invalid_value"),
        (
            {"query": "a", "ranking_options": {"score_threshold": 1.1}},
            "ranking_options.score_threshold",
            "decimal_above_max_value",
        ),
        ({"query": "a", "filters": {"type": "like", "key": "k", "value": "v"}}, "filters.type", "invalid_value"),
        ({"query": "a", "filters": {"type": "eq", "key": "k"}}, "filters.value", "missing_required_parameter"),
        ({"query": "a", "filters": {"type": "eq", "key": "k", "value": None}}, "filters.value", "invalid_type"),
        ({"query": "a", "filters": {"type": "eq", "key": "k", "value": {}}}, "filters.value", "invalid_type"),
        ({"query": "a", "filters": {"type": "in", "key": "k", "value": "v"}}, "filters", "invalid_value"),
        ({"query": "a", "filters": {"type": "gt", "key": "k", "value": [1]}}, "filters", "invalid_value"),
        ({"query": "a", "filters": {"type": "and", "filters": []}}, "filters.filters", "empty_array"),
        ({"query": "a", "filters": {"type": "and", "filters": [EQ] * 256}}, "filters", "invalid_value"),
        ({"query": "a", "filters": {"type": "or", "filters": [IN_501, IN_501]}}, "filters", "invalid_value"),
        ({"query": "a", "filters": deep(16)}, "filters", "invalid_value"),
        ({"query": "a", "filters": deep(100)}, "filters", "invalid_value"),
        ({"query": "a", "unknown": 1}, "unknown", "unknown_parameter"),
    ],
)
async def test_bad_searches(client: Client, body: Any, param: str, code: str) -> None:
    store = await client.post("/vector_stores", {})
    answer = await client.call("POST", f"/vector_stores/{store['id']}/search", body)
    assert (answer.status, answer.body["error"]["param"], answer.body["error"]["code"]) == (400, param, code)


async def test_queries_are_rewritten_by_a_model(
    start_server: StartServer, model: ScriptedServer, search_engine: FakeSearchEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start_server(rewrite_model="small") as client:
        store = await store_with(client, "a.txt")
        path = f"/vector_stores/{store['id']}/search"
        asked = {"query": ["Please tell me, what is some text?", "text"], "rewrite_query": True}
        model.script(says(' "Some text" \n'), when=lambda request: "Please" in str(request["messages"]))
        model.script(errors(400), when=lambda request: request["messages"][-1]["content"] == "text")
        found = await client.post(path, asked)
        assert found["search_query"] == search_engine.searches[-1]["queries"] == ["Some text", "text"]
        assert len(found["data"]) == 1
        assert {(await model.next_request())["model"], (await model.next_request())["model"]} == {"small"}
        found = await client.post(path, {**asked, "rewrite_query": False})
        assert (found["search_query"], len(model.requests)) == (asked["query"], 2)
        monkeypatch.setattr(query_rewrite, "PATIENCE_S", 0.01)
        model.script(says("").holds("never"))
        assert (await client.post(path, {"query": "text", "rewrite_query": True}))["search_query"] == ["text"]


@pytest.mark.parametrize(
    ("answer", "query"),
    [
        ("“high tide”\n\n", "high tide"),
        ("", None),
        (" \n", None),
        ("Sure! Here it is:\nhigh tide", None),
        ("x" * 1001, None),
        ("high\0tide", "high tide"),
    ],
)
def test_the_query_in_the_answer_of_a_model(answer: str, query: str | None) -> None:
    assert query_rewrite.parse_answer(answer) == query


async def test_a_deep_filter_is_fine_up_to_the_bound(client: Client) -> None:
    store = await client.post("/vector_stores", {})
    assert await searched(client, store["id"], "a", filters=deep(15)) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"name": 7}, "name", "invalid_type"),
        ({"name": "x" * 257}, "name", "string_above_max_length"),
        ({"file_ids": ["f"] * 501}, "file_ids", "array_above_max_length"),
        ({"metadata": {str(n): "v" for n in range(17)}}, "metadata", "object_above_max_properties"),
        ({"expires_after": {"anchor": "created_at", "days": 1}}, "expires_after.anchor", "invalid_value"),
        ({"expires_after": {"anchor": "last_active_at", "days": 0}}, "expires_after.days", "integer_below_min_value"),
        ({"expires_after": {"anchor": "last_active_at", "days": 366}}, "expires_after.days", "integer_above_max_value"),
        ({"chunking_strategy": {"type": "best"}}, "chunking_strategy.type", "invalid_value"),
        ({"chunking_strategy": {"type": "static"}}, "chunking_strategy.static", "missing_required_parameter"),
        ({"unknown": 1}, "unknown", "unknown_parameter"),
    ],
)
async def test_bad_stores(client: Client, body: Any, param: str, code: str) -> None:
    answer = await client.call("POST", "/vector_stores", body)
    assert (answer.status, answer.body["error"]["param"], answer.body["error"]["code"]) == (400, param, code)
    assert (await client.get("/vector_stores"))["data"] == []


async def test_v1_has_none(client: Client) -> None:
    store = await client.post("/vector_stores", {})
    for method, path in (
        ("GET", "/vector_stores"),
        ("POST", "/vector_stores"),
        ("GET", f"/vector_stores/{store['id']}"),
        ("DELETE", f"/vector_stores/{store['id']}"),
        ("GET", f"/vector_stores/{store['id']}/files"),
        ("POST", f"/vector_stores/{store['id']}/search"),
    ):
        body: Any = {} if method == "POST" else None
        answer = await client.call(method, path, body, headers={"OpenAI-Beta": V1})
        assert answer.error == (404, f"Invalid URL ({method} /v1{path})", None, "unknown_url")
    assert (await client.get(f"/vector_stores/{store['id']}"))["id"] == store["id"]


async def test_a_store_outlives_its_servers(start_server: StartServer, search_engine: FakeSearchEngine) -> None:
    async with start_server() as client:
        store = await client.post("/vector_stores", {"file_ids": [await file_named(client, "slow.txt")]})
        await search_engine.until_started(1)
    search_engine.release()
    async with start_server() as client:
        assert (await settled(client, store["id"]))["file_counts"]["completed"] == 1


@pytest.mark.slow
async def test_a_gone_store_is_named_by_nobody(client: Client) -> None:
    store = await client.post("/vector_stores", {})
    resources = {"file_search": {"vector_store_ids": [store["id"]]}}
    assistant = await assistant_with(client, tools=[{"type": "file_search"}], tool_resources=resources)
    thread = await client.post("/threads", {"tool_resources": resources})
    assert assistant["tool_resources"] == thread["tool_resources"] == resources
    await client.delete(f"/vector_stores/{store['id']}")
    for path in (f"/assistants/{assistant['id']}", f"/threads/{thread['id']}"):
        assert (await client.get(path))["tool_resources"] == {"file_search": {"vector_store_ids": []}}


async def test_upkeep_takes_files_out_whose_file_is_gone(
    client: Client, search_engine: FakeSearchEngine, pool: Pool
) -> None:
    """The state after a crash between the end of the File and its removal from stores."""
    store = await store_with(client, "a.txt", "b.txt")
    [first, second] = await files_of(client, store["id"])
    write: Writer = writer(pool)
    await write.file(Origin(DEFAULT_PROJECT, CommandLineActor()), first, DeleteFile())
    assert list(await files_of(client, store["id"])) == [second], "it is not there, whoever has noticed"
    answer = await client.call("GET", f"/vector_stores/{store['id']}/files/{first}")
    assert answer.status == 404
    await Upkeep(write, search_engine).remove_deleted_files(CLOCK.now())
    assert (await client.get(f"/vector_stores/{store['id']}"))["file_counts"]["total"] == 1


@pytest.mark.slow
async def test_files_are_counted_anew_when_a_process_goes(start_server: StartServer, pool: Pool) -> None:
    """The process may have died between the end of a File and its removal from stores."""
    async with start_server() as client:
        store = await store_with(client, "a.txt", "b.txt")
        [first, second] = await files_of(client, store["id"])
        async with start_server() as other:
            found = await store_with(other, "c.txt")
            await settled(client, found["id"])
            await writer(pool).file(Origin(DEFAULT_PROJECT, CommandLineActor()), first, DeleteFile())
        async with asyncio.timeout(WAIT_S):
            while (await client.get(f"/vector_stores/{store['id']}"))["file_counts"]["total"] != 1:
                await asyncio.sleep(0.005)
        assert list(await files_of(client, store["id"])) == [second]
