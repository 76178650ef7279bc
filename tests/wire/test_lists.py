"""Lists over HTTP: limit, order, after, before, both at once, run_id, deleted cursors (docs/behaviour.md, "Lists")."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.client import Client
from tests.http.helpers import assistant_with, run_of, thread_with

COUNT = 7
EMPTY: dict[str, Any] = {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


async def assistants(client: Client) -> tuple[str, list[str]]:
    return "/assistants", [(await assistant_with(client))["id"] for _ in range(COUNT)]


async def messages(client: Client) -> tuple[str, list[str]]:
    thread = await thread_with(client, *(str(number) for number in range(COUNT)))
    path = f"/threads/{thread['id']}/messages"
    return path, [one["id"] for one in (await client.get(path, order="asc"))["data"]]


async def runs(client: Client) -> tuple[str, list[str]]:
    assistant, thread = await assistant_with(client), await thread_with(client, "Hi")
    path = f"/threads/{thread['id']}/runs"
    made = []
    for _ in range(COUNT):
        made.append(await client.settled(await client.post(path, {"assistant_id": assistant["id"]})))
    return path, [run["id"] for run in made]


Make = Callable[[Client], Awaitable[tuple[str, list[str]]]]


@pytest.mark.slow
@pytest.mark.parametrize("make", [assistants, messages, runs])
async def test_every_page(client: Client, make: Make) -> None:
    """Compares pages with slices of the whole list, in both orders, for each limit, after and before each object."""
    path, ids = await make(client)
    for order, whole in (("asc", ids), ("desc", ids[::-1])):
        for limit in (1, 3, COUNT, 100):
            for after in (None, *whole):
                for before in (None, *whole):
                    if after and before and limit != 3:
                        continue
                    query = {"after": after, "before": before, "order": order, "limit": str(limit)}
                    page = await client.get(path, **{key: value for key, value in query.items() if value})
                    assert (_ids(page), page["has_more"]) == _cut(whole, limit, after, before), query


def _ids(page: Any) -> list[str]:
    return [one["id"] for one in page["data"]]


def _cut(whole: list[str], limit: int, after: str | None, before: str | None) -> tuple[list[str], bool]:
    begin = whole.index(after) + 1 if after else 0
    end = whole.index(before) if before else len(whole)
    found = whole[begin:end]
    if before and not after:
        return found[-limit:], len(found) > limit
    return found[:limit], len(found) > limit


async def test_defaults(client: Client) -> None:
    assert await client.get("/assistants") == EMPTY
    thread = await thread_with(client, *(str(number) for number in range(25)))
    page = await client.get(f"/threads/{thread['id']}/messages")
    assert [one["content"][0]["text"]["value"] for one in page["data"]] == [str(n) for n in range(24, 4, -1)]
    assert page["has_more"] is True
    path = f"/threads/{thread['id']}/messages"
    assert await client.get(path, limit="", order="", after="", before="") == page
    assert await client.get(path, surprise="x", limit="20") == page


@pytest.mark.slow
@pytest.mark.parametrize("make", [assistants, messages])
async def test_cursors_of_what_was_deleted(client: Client, make: Make) -> None:
    path, ids = await make(client)
    for gone in (ids[1], ids[3]):
        await client.delete(f"{path}/{gone}")
    assert _ids(await client.get(path, order="asc")) == [ids[0], ids[2], *ids[4:]]
    assert _ids(await client.get(path, order="asc", after=ids[3])) == ids[4:]
    assert _ids(await client.get(path, order="desc", after=ids[3])) == [ids[2], ids[0]]
    assert _ids(await client.get(path, order="asc", before=ids[3])) == [ids[0], ids[2]]
    assert _ids(await client.get(path, order="asc", after=ids[1], before=ids[3])) == [ids[2]]


@pytest.mark.slow
@pytest.mark.parametrize("make", [assistants, messages, runs])
async def test_cursors_that_nothing_has(client: Client, make: Make) -> None:
    """Ids of no object and of another list lead to a 404 or an empty page, never to the first page."""
    path, _ = await make(client)
    other = (await thread_with(client, "Hi"))["id"]
    for query in ({"after": "nothing"}, {"before": "nothing"}, {"after": other}, {"before": "nothing", "order": "asc"}):
        answer = await client.call("GET", path, headers=None, **query)
        assert answer.status == 404 or answer.body["data"] == [], query


async def test_messages_of_a_run(client: Client) -> None:
    run = await client.settled(await run_of(client, "Hi"))
    path = f"/threads/{run['thread_id']}"
    second = await client.post(f"{path}/runs", {"assistant_id": run["assistant_id"]})
    await client.settled(second)
    assert len((await client.get(f"{path}/messages"))["data"]) == 3
    for one in (run, second):
        [message] = (await client.get(f"{path}/messages", run_id=one["id"]))["data"]
        assert message["run_id"] == one["id"]
    assert await client.get(f"{path}/messages", run_id="run_no") == EMPTY
    assert len((await client.get(f"{path}/messages", run_id=""))["data"]) == 3


async def test_steps(client: Client) -> None:
    run = await client.settled(await run_of(client, "Hi"))
    path = f"/threads/{run['thread_id']}/runs/{run['id']}/steps"
    [step] = (await client.get(path))["data"]
    assert _ids(await client.get(path, after=step["id"])) == []
    assert _ids(await client.get(path, before=step["id"], order="asc")) == []
