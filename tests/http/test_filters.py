"""The filters of GET /threads and GET /assistants: metadata and dates."""

from __future__ import annotations

import pytest

from service.cli import admin
from service.database import Pool
from tests.client import V1, V2, Answer, Client
from tests.clock import IDS
from tests.conftest import StartServer
from tests.http.helpers import assistant_with
from tests.http.keys import as_key, writer
from tests.scripted import ScriptedServer, hangs


async def made(client: Client, *metadata: dict[str, str]) -> list[str]:
    return [(await client.post("/threads", {"metadata": one}))["id"] for one in metadata]


async def found(client: Client, path: str = "/threads", **query: str) -> list[str]:
    return [one["id"] for one in (await client.get(path, order="asc", **query))["data"]]


@pytest.mark.parametrize("beta", [V1, V2])
async def test_threads_are_listed_as_they_are_got(client: Client, beta: str) -> None:
    client.headers["OpenAI-Beta"] = beta
    assert (await client.get("/threads"))["data"] == []
    ids = await made(client, {"user": "ann"}, {}, {"user": "bob"})
    page = await client.get("/threads")
    assert [one["id"] for one in page["data"]] == ids[::-1]
    assert page["data"] == [await client.get(f"/threads/{id}") for id in ids[::-1]]
    assert await found(client, limit="2") == ids[:2]
    assert await found(client, after=ids[0], before=ids[2]) == [ids[1]]


async def test_by_metadata(client: Client) -> None:
    one, two, three, _ = await made(
        client, {"user": "ann", "env": "prod"}, {"user": "bob", "env": "prod"}, {"user": "ann", "x": ""}, {}
    )
    assert await found(client, **{"metadata[user]": "ann"}) == [one, three]
    assert await found(client, **{"metadata[env]": "prod"}) == [one, two]
    assert await found(client, **{"metadata[env]": "prod", "metadata[user]": "ann"}) == [one]
    assert await found(client, **{"metadata[env]": "prod", "metadata[user]": "nobody"}) == []
    assert await found(client, **{"metadata[x]": ""}) == [three]
    assert await found(client, **{"metadata[user]": "an"}) == [], "whole values"
    await client.post(f"/threads/{two}", {"metadata": {"user": "ann"}})
    assert await found(client, **{"metadata[user]": "ann"}) == [one, two, three]
    assert await found(client, **{"metadata[user]": "ann", "after": one, "limit": "1"}) == [two]
    await client.post(f"/threads/{three}", {"metadata": None})
    await client.delete(f"/threads/{one}")
    assert await found(client, **{"metadata[user]": "ann"}) == [two]


async def test_by_any_key_and_value(client: Client) -> None:
    pairs = [("a[b]", "c=d&e"), ("ключ", "значение 🙂"), ("k" * 64, "v" * 512), ("a", "[]"), (" ", "%")]
    for key, value in pairs:
        [thread] = await made(client, {key: value})
        assert await found(client, **{f"metadata[{key}]": value}) == [thread]


async def test_by_date(client: Client, pool: Pool) -> None:
    ids = await made(client, {"n": "1"}, {"n": "2"}, {"n": "3"})
    for number, id in enumerate(ids):
        for table in ("threads WHERE thread_id", "metadata_pairs WHERE stream_id"):
            name, _, where = table.partition(" ")
            moved = f"UPDATE {name} SET created_at = to_timestamp($2) {where} = $1"
            await pool.execute(moved, id, 1_700_000_000.5 + number)
    at = [str(1_700_000_000 + number) for number in range(4)]
    assert await found(client, **{"created_at[gte]": at[1]}) == ids[1:]
    assert await found(client, **{"created_at[gt]": at[1]}) == ids[2:]
    assert await found(client, **{"created_at[lt]": at[1]}) == ids[:1]
    assert await found(client, **{"created_at[lte]": at[1]}) == ids[:2]
    assert await found(client, **{"created_at[gte]": at[1], "created_at[lt]": at[2]}) == [ids[1]]
    assert await found(client, **{"created_at[lt]": at[2], "metadata[n]": "2"}) == [ids[1]]
    assert await found(client, **{"created_at[lt]": at[1], "metadata[n]": "2"}) == []


async def test_cursors_of_deleted_threads(client: Client) -> None:
    ids = await made(client, *[{"k": "v"}] * 4)
    await client.delete(f"/threads/{ids[1]}")
    for query in ({}, {"metadata[k]": "v"}):
        assert await found(client, after=ids[1], **query) == ids[2:]
        assert await found(client, before=ids[1], **query) == ids[:1]
    unknown = await client.call("GET", "/threads", after="thread_nothing")
    assert unknown.error[:2] == (404, "No thread found with id 'thread_nothing'.")


async def test_other_projects_threads_are_nowhere(client: Client, pool: Pool) -> None:
    await admin.create_project(writer(pool), "Theirs", ids=IDS)
    [ours] = await made(client, {"k": "v"})
    async with await as_key(client, pool, "Theirs") as them, await as_key(client, pool, scope="read") as reader:
        [theirs] = await made(them, {"k": "v"})
        for query in ({}, {"metadata[k]": "v"}):
            assert await found(client, **query) == [ours]
            assert await found(them, **query) == [theirs]
            assert await found(reader, **query) == [ours]
        assert (await them.call("GET", "/threads", after=ours)).status == 404


async def test_assistants_too(client: Client) -> None:
    one = (await assistant_with(client, metadata={"team": "a"}))["id"]
    two = (await assistant_with(client, metadata={"team": "a", "x": "y"}))["id"]
    await assistant_with(client)
    assert await found(client, "/assistants", **{"metadata[team]": "a"}) == [one, two]
    assert await found(client, "/assistants", **{"metadata[team]": "a", "metadata[x]": "y"}) == [two]
    await client.post(f"/assistants/{one}", {"metadata": {"team": "b"}})
    await client.delete(f"/assistants/{two}")
    assert await found(client, "/assistants", **{"metadata[team]": "a"}) == []
    assert await found(client, "/assistants", **{"metadata[team]": "b", "unknown": "as the original, ignored"}) == [one]
    assert await found(client, "/assistants", **{"created_at[gt]": "4000000000"}) == []


WRONG: list[tuple[dict[str, str], str, str]] = [
    ({"metadata": "v"}, "metadata", "Invalid 'metadata': write metadata[key]=value."),
    ({"metadata[k": "v"}, "metadata", "Invalid 'metadata': write metadata[key]=value."),
    ({"metadata[]": "v"}, "metadata[]", "Invalid 'metadata[]': Keys of metadata have 1 to 64 characters"),
    ({f"metadata[{'k' * 65}]": "v"}, f"metadata[{'k' * 65}]", "Invalid 'metadata["),
    ({"metadata[k]": "v" * 513}, "metadata[k]", "Invalid 'metadata[k]': Keys"),
    ({f"metadata[{n}]": "v" for n in range(17)}, "metadata", "Invalid 'metadata': no object has more than 16"),
    ({"created_at": "5"}, "created_at", "Invalid 'created_at': write created_at[gte]=seconds"),
    ({"created_at[eq]": "5"}, "created_at", "Invalid 'created_at': write"),
    ({"created_at[gt]": "yesterday"}, "created_at[gt]", "Invalid type for 'created_at[gt]': expected an integer"),
    ({"created_at[gt]": "-5"}, "created_at[gt]", "Invalid type"),
    ({"created_at[gt]": "9" * 5000}, "created_at[gt]", "Invalid type"),
    ({"limit": "0"}, "limit", "Invalid 'limit'"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("query", "param", "says"), WRONG)
async def test_wrong_filters(client: Client, query: dict[str, str], param: str, says: str) -> None:
    for path in ("/threads", "/assistants"):
        status, message, at, _ = (await client.call("GET", path, headers=None, **query)).error
        assert (status, at, message[: len(says)]) == (400, param, says)


async def test_a_misspelt_filter_does_not_find_everything(client: Client) -> None:
    for name in ("meta[k]", "user", "created_after", "x\x00"):
        status, _, param, code = (await client.call("GET", "/threads", headers=None, **{name: "v"})).error
        assert (status, param, code) == (400, name, "unknown_parameter")
    nul = await client.call("GET", "/threads", headers=None, **{"metadata[k]": "\x00"})
    assert nul.error[0] == 400
    twice = await client.call("GET", "/threads?metadata[k]=a&metadata[k]=b")
    assert twice.error[:2] == (400, "'metadata[k]' was given more than once.")


async def test_a_thread_deleted_in_mid_run_is_not_found(client: Client, model: ScriptedServer) -> None:
    model.script(hangs())
    assistant = await assistant_with(client)
    thread = {"messages": [{"role": "user", "content": "Hi"}], "metadata": {"k": "v"}}
    run = await client.post("/threads/runs", {"assistant_id": assistant["id"], "thread": thread})
    await model.next_request()
    assert await found(client, **{"metadata[k]": "v"}) == [run["thread_id"]]
    await client.delete(f"/threads/{run['thread_id']}")
    assert await found(client, **{"metadata[k]": "v"}) == []


async def test_azure_clients_name_their_version(start_server: StartServer) -> None:
    async with start_server() as client:
        url = client.base_url.removesuffix("/v1") + "/openai/threads?api-version=2024-05-01-preview"
        async with client.session.get(url, headers={"api-key": client.headers["Authorization"][7:]}) as response:
            answer = Answer(response.status, await response.json(), response.headers)
        assert client.checked("GET", "/threads", {}, answer).body["data"] == []
