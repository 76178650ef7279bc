"""Ratings and notes of runs."""

from __future__ import annotations

from typing import Any

import pytest

from service.database import Pool
from tests.client import V1, Client
from tests.http.helpers import run_of
from tests.http.keys import as_key
from tests.scripted import ScriptedServer, calls, says

WEATHER = {"type": "function", "function": {"name": "weather"}}


def path_of(run: Any) -> str:
    return f"/threads/{run['thread_id']}/runs/{run['id']}"


@pytest.mark.parametrize("beta", [None, V1])
async def test_a_run_is_rated(client: Client, pool: Pool, model: ScriptedServer, beta: str | None) -> None:
    client.headers["OpenAI-Beta"] = beta or client.headers["OpenAI-Beta"]
    model.script(says("Hello"))
    run = await client.settled(await run_of(client, "Hi"))
    path = path_of(run)
    assert (await client.get(f"{path}/reviews"))["data"] == []
    before = await client.get(path)
    first = await client.post(f"{path}/reviews", {"rating": "bad", "note": "Wrong tone.\nShort."})
    second = await client.post(f"{path}/reviews", {"rating": "good"})
    third = await client.post(f"{path}/reviews", {"note": "Fine now."})
    assert (first["rating"], first["note"], first["actor"]) == ("bad", "Wrong tone.\nShort.", "key:default")
    assert (second["rating"], second["note"], third["rating"]) == ("good", None, None)
    found = await client.get(f"{path}/reviews")
    assert (found["data"], found["has_more"]) == ([first, second, third], False)
    page = await client.get(f"{path}/reviews", limit="2")
    assert (page["data"], page["has_more"]) == ([first, second], True)
    rest = await client.get(f"{path}/reviews", after=str(page["last_version"]))
    assert (rest["data"], rest["has_more"]) == ([third], False)
    assert await client.get(path) == before, "the object of the run has no field of it"
    replayed = (await client.get(f"{path}/replay", limit="100"))["data"]
    assert [(one["type"], one["summary"]) for one in replayed[-3:]] == [
        ("run.reviewed", "bad: Wrong tone. Short."),
        ("run.reviewed", "good"),
        ("run.reviewed", "Fine now."),
    ]
    types = await pool.fetch("SELECT type FROM events WHERE stream_id = $1 ORDER BY version", run["thread_id"])
    assert [row["type"] for row in types][-3:] == ["run.reviewed"] * 3


async def test_active_runs_and_several_runs(client: Client, model: ScriptedServer) -> None:
    model.script(calls(("weather", {})), says("Sunny"), says("Again"))
    run = await client.settled(await run_of(client, "Hi", tools=[WEATHER]))
    await client.post(f"{path_of(run)}/reviews", {"rating": "good"})
    [call] = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    outputs = {"tool_outputs": [{"tool_call_id": call["id"], "output": "sun"}]}
    ended = await client.settled(await client.post(f"{path_of(run)}/submit_tool_outputs", outputs))
    assert ended["status"] == "completed"
    other = await client.post(f"/threads/{run['thread_id']}/runs", {"assistant_id": run["assistant_id"]})
    await client.settled(other)
    noted = await client.post(f"{path_of(other)}/reviews", {"note": "n"})
    assert (await client.get(f"{path_of(other)}/reviews"))["data"] == [noted]
    assert len((await client.get(f"{path_of(run)}/reviews"))["data"]) == 1


async def test_a_repeated_request_rates_once(client: Client, model: ScriptedServer) -> None:
    model.script(says("Hello"))
    run = await client.settled(await run_of(client, "Hi"))
    path, headers = f"{path_of(run)}/reviews", {"Idempotency-Key": "r1"}
    first = await client.call("POST", path, {"rating": "good"}, headers=headers)
    assert (await client.call("POST", path, {"rating": "good"}, headers=headers)).body == first.body
    assert len((await client.get(path))["data"]) == 1


async def test_refusals(client: Client, pool: Pool, model: ScriptedServer) -> None:
    model.script(says("Hello"))
    run = await client.settled(await run_of(client, "Hi"))
    path = f"{path_of(run)}/reviews"
    for body, param in (
        ({}, "rating"),
        ({"rating": "great"}, "rating"),
        ({"note": ""}, "note"),
        ({"note": "x" * 4097}, "note"),
        ({"stars": 5}, "stars"),
    ):
        status, _, named, _ = (await client.call("POST", path, body)).error
        assert (status, named) == (400, param)
    missing = f"/threads/{run['thread_id']}/runs/run_none/reviews"
    assert (await client.call("POST", missing, {"rating": "good"})).status == 404
    assert (await client.call("GET", missing)).status == 404
    async with await as_key(client, pool, scope="read") as reader:
        assert (await reader.call("POST", path, {"rating": "good"})).status == 403
        assert (await reader.get(path))["data"] == []
    await client.delete(f"/threads/{run['thread_id']}")
    assert (await client.call("POST", path, {"rating": "good"})).status == 404
    assert (await client.call("GET", path)).status == 404
