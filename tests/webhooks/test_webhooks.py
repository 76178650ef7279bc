"""Webhooks end to end: a real server and Postgres, a scripted model, and a receiver that verifies every signature."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from service.database import Pool
from service.webhooks import couriers
from tests.client import V1, WAIT_S, Client
from tests.clock import IDS
from tests.conftest import StartServer
from tests.http.helpers import assistant_with, run_of, thread_with
from tests.http.keys import as_key, writer
from tests.scripted import ScriptedServer, calls, hangs, says
from tests.webhooks.helpers import PLAIN, create_endpoint, wait_until_delivered
from tests.webhooks.receiver import ReceivedMessage, Receiver

WEATHER = {"type": "function", "function": {"name": "weather"}}


@pytest.mark.slow
async def test_the_messages_of_a_run_are_signed_and_in_order(
    client: Client, receiver: Receiver, model: ScriptedServer, pool: Pool
) -> None:
    model.script(says("Fine."))
    await create_endpoint(client, receiver)
    run = await run_of(client, "Hi", metadata={})
    done = await client.settled(run)
    got = await receiver.types(*PLAIN)
    assert all(one.is_verified for one in got)
    assert len({one.id for one in got}) == 3
    created, began, completed = (one.event for one in got)
    assert [event["id"] for event in (created, began, completed)] == [one.id for one in got]
    assert list(completed) == ["id", "object", "type", "created_at", "data"]
    # Each message shows the run at its event; the last is equal to the answer of the API.
    assert completed["data"] == done
    assert completed["created_at"] == done["completed_at"]
    assert (created["data"]["status"], created["data"]["started_at"], created["data"]["usage"]) == (
        "queued",
        None,
        None,
    )
    assert created["data"]["expires_at"] == run["expires_at"]
    assert (began["data"]["status"], began["data"]["started_at"]) == ("in_progress", done["started_at"])
    await wait_until_delivered(pool)


@pytest.mark.slow
async def test_an_endpoint_gets_the_types_that_it_asked_for(
    client: Client, receiver: Receiver, model: ScriptedServer
) -> None:
    model.script(calls(("weather", {})), says("Sunny."))
    await create_endpoint(client, receiver, "/all")
    await create_endpoint(client, receiver, "/some", events=["thread.run.requires_action", "thread.run.completed"])
    run = await client.settled(await run_of(client, "Weather?", tools=[WEATHER]))
    [call] = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    await client.post(
        f"/threads/{run['thread_id']}/runs/{run['id']}/submit_tool_outputs",
        {"tool_outputs": [{"tool_call_id": call["id"], "output": "sun"}]},
    )
    await client.settled(run)
    every = ("created", "in_progress", "requires_action", "queued", "in_progress", "completed")
    await receiver.types(*(f"thread.run.{name}" for name in every), path="/all")
    asked, _ = await receiver.types("thread.run.requires_action", "thread.run.completed", path="/some")
    assert asked.event["data"]["required_action"] == run["required_action"]


@pytest.mark.slow
async def test_messages_are_v2_for_clients_of_any_version(
    client: Client, receiver: Receiver, model: ScriptedServer
) -> None:
    model.script(says("Fine."))
    await create_endpoint(client, receiver, events=["thread.run.completed"])
    client.headers["OpenAI-Beta"] = V1
    await client.settled(await run_of(client, "Hi"))
    [got] = await receiver.types("thread.run.completed")
    assert "tool_resources" in got.event["data"]
    assert "file_ids" not in got.event["data"]


@pytest.mark.slow
async def test_messages_of_a_deleted_thread_are_still_delivered(
    client: Client, receiver: Receiver, model: ScriptedServer
) -> None:
    receiver.must_wait = lambda event, path: event["type"] == "thread.run.created"
    model.script(hangs(after=2))
    await create_endpoint(client, receiver)
    run = await run_of(client, "Hi")
    await receiver.wait_for_message()
    await model.next_request()
    await client.delete(f"/threads/{run['thread_id']}")
    receiver.may_answer.set()
    kinds = ("created", "in_progress", "cancelling", "cancelled")
    got = await receiver.types(*(f"thread.run.{kind}" for kind in kinds))
    assert got[-1].event["data"]["status"] == "cancelled"
    assert got[-1].event["data"]["id"] == run["id"]


@pytest.mark.slow
async def test_a_project_gets_only_its_own_messages(
    client: Client, receiver: Receiver, model: ScriptedServer, pool: Pool
) -> None:
    from service.cli import admin

    await admin.create_project(writer(pool), "Theirs", ids=IDS)
    async with await as_key(client, pool, "Theirs") as theirs:
        await create_endpoint(theirs, receiver, "/theirs")
        await create_endpoint(client, receiver, "/ours")
        model.script(says("One."))
        await client.settled(await run_of(client, "Hi"))
        await receiver.types(*PLAIN, path="/ours")
        await wait_until_delivered(pool)
    assert {got.path for got in receiver.messages} == {"/ours"}


@pytest.mark.slow
async def test_two_servers_share_the_work(
    start_server: StartServer, receiver: Receiver, model: ScriptedServer, pool: Pool
) -> None:
    runs = 6
    model.script(*(says("Fine.") for _ in range(2 * runs)))
    async with AsyncExitStack() as stack:
        both = [await stack.enter_async_context(start_server(webhooks_allow_private=True)) for _ in range(2)]
        await create_endpoint(both[0], receiver)
        made = await asyncio.gather(*(run_of(client, "Hi") for client in both for _ in range(runs)))
        await asyncio.gather(*(both[0].settled(run) for run in made))
        await receiver.until(lambda got: len(got) >= 3 * len(made))
        await wait_until_delivered(pool)
    assert len(receiver.messages) == len({one.id for one in receiver.messages}) == 3 * len(made), "each exactly once"
    for run in made:
        assert [got.type for got in receiver.messages if got.event["data"]["id"] == run["id"]] == list(PLAIN)


@pytest.mark.slow
async def test_a_server_that_stops_waits_for_active_messages(
    start_server: StartServer, receiver: Receiver, model: ScriptedServer, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(couriers, "STOP_GRACE", WAIT_S)
    receiver.must_wait = lambda event, path: True
    model.script(says("One."))
    async with start_server(webhooks_allow_private=True) as client:
        await create_endpoint(client, receiver, events=["thread.run.completed"])
        await client.settled(await run_of(client, "Hi"))
        await receiver.wait_for_message()
        asyncio.get_running_loop().call_later(0.2, receiver.may_answer.set)
    assert await pool.fetchval("SELECT count(*) FROM webhook_deliveries") == 0
    async with start_server(webhooks_allow_private=True):
        await wait_until_delivered(pool)
    assert len(receiver.messages) == 1


@pytest.mark.slow
async def test_the_next_server_delivers_the_messages_of_a_stopped_server(
    start_server: StartServer, receiver: Receiver, model: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(couriers, "STOP_GRACE", 0.0)
    receiver.must_wait = lambda event, path: True
    model.script(says("One."))
    async with start_server(webhooks_allow_private=True) as client:
        await create_endpoint(client, receiver)
        await client.settled(await run_of(client, "Hi"))
        await receiver.wait_for_message()
    receiver.must_wait = lambda event, path: False
    before = len(receiver.messages)
    receiver.may_answer.set()
    async with start_server(webhooks_allow_private=True):
        await receiver.until(lambda got: {one.type for one in got[before:]} >= set(PLAIN))


@pytest.mark.slow
async def test_the_messages_of_a_queued_run(client: Client, receiver: Receiver, model: ScriptedServer) -> None:
    model.script(says("One").waits("first"), says("Two"))
    await create_endpoint(client, receiver)
    assistant, thread = await assistant_with(client), await thread_with(client, "Hi")
    path, asked = f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"]}
    first = await client.post(path, asked)
    await model.wait_for_gate("first")
    client.headers["Everthread-Busy"] = "queue"
    second = await client.post(path, asked)
    model.open_gate("first")
    done = await client.settled(second)

    def mine(got: list[ReceivedMessage], run: Any) -> list[ReceivedMessage]:
        return [one for one in got if one.event["data"]["id"] == run["id"]]

    await receiver.until(lambda got: len(got) == 6)
    assert [one.type for one in mine(receiver.messages, first)] == list(PLAIN)
    created, began, completed = (one.event for one in mine(receiver.messages, second))
    assert created["data"] == second
    assert began["data"]["expires_at"] >= second["created_at"] + 600
    assert completed["data"] == done
