"""Webhooks end to end: a real server and Postgres, a scripted model, and a receiver that verifies every signature."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest
from structlog.testing import capture_logs

from service.database import Pool
from service.webhooks import couriers, schedule
from tests.client import V1, WAIT_S, Client
from tests.clock import IDS
from tests.conftest import StartServer
from tests.http.helpers import assistant_with, run_of, thread_with
from tests.http.keys import as_key, writer
from tests.scripted import ScriptedServer, calls, hangs, says
from tests.webhooks.helpers import create_endpoint, wait_until_delivered
from tests.webhooks.receiver import ReceivedMessage, Receiver

WEATHER = {"type": "function", "function": {"name": "weather"}}
PLAIN = ("thread.run.created", "thread.run.in_progress", "thread.run.completed")


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


@pytest.mark.usefixtures("quick")
async def test_a_refused_message_is_repeated_unchanged(
    client: Client, receiver: Receiver, model: ScriptedServer, pool: Pool
) -> None:
    refusals = {"thread.run.created": 2, "thread.run.completed": 1}

    def answer(event: Any, path: str) -> int:
        refusals[event["type"]] = refusals.get(event["type"], 0) - 1
        return 500 if refusals[event["type"]] >= 0 else 200

    receiver.answer = answer
    model.script(says("Fine."))
    made = await create_endpoint(client, receiver)
    await client.settled(await run_of(client, "Hi"))
    await receiver.until(lambda got: sum(one.status == 200 for one in got) == 3)
    for kind, times in (("thread.run.created", 3), ("thread.run.in_progress", 1), ("thread.run.completed", 2)):
        same = [one for one in receiver.messages if one.type == kind]
        assert len(same) == times
        assert len({(one.id, one.raw) for one in same}) == 1
        assert all(one.is_verified for one in same), "each attempt has its own signature"
    await wait_until_delivered(pool)
    shown = await client.get(f"/webhook_endpoints/{made['id']}")
    assert (shown["failing_since"], shown["last_error"]) == (None, None)
    assert shown["last_delivered_at"] is not None


@pytest.mark.usefixtures("quick")
async def test_a_message_is_given_up_after_the_last_attempt(
    client: Client, receiver: Receiver, model: ScriptedServer, pool: Pool
) -> None:
    receiver.answer = lambda event, path: 503
    model.script(says("Fine."))
    made = await create_endpoint(client, receiver, events=["thread.run.completed"])
    await client.settled(await run_of(client, "Hi"))
    await wait_until_delivered(pool)
    assert len(receiver.messages) == 1 + len(schedule.PAUSES)
    shown = await client.get(f"/webhook_endpoints/{made['id']}")
    assert (shown["status"], shown["last_error"]) == ("enabled", "answered with status 503")
    assert shown["failing_since"] is not None
    async with client.session.get(client.base_url.removesuffix("/v1") + "/metrics") as response:
        counts = await response.text()
    assert 'everthread_webhooks_total{outcome="failed"} 4.0' in counts
    assert 'everthread_webhooks_total{outcome="given_up"} 1.0' in counts
    assert "everthread_webhooks_waiting 0.0" in counts


async def test_a_slow_endpoint_delays_no_others(client: Client, receiver: Receiver, model: ScriptedServer) -> None:
    receiver.must_wait = lambda event, path: path == "/slow"
    model.script(says("One."), says("Two."))
    await create_endpoint(client, receiver, "/slow")
    await create_endpoint(client, receiver, "/hook")
    for _ in range(2):
        await client.settled(await run_of(client, "Hi"))
    await receiver.wait_for_message()
    await receiver.until(lambda got: len(got) == 6)
    assert {one.path for one in receiver.messages} == {"/hook"}
    receiver.may_answer.set()
    await receiver.until(lambda got: len(got) == 12)
    for run_id in {one.event["data"]["id"] for one in receiver.messages}:
        mine = [one for one in receiver.messages if one.event["data"]["id"] == run_id and one.path == "/slow"]
        assert [one.type for one in mine] == list(PLAIN), "in the order of the thread"


async def test_private_addresses_are_refused(
    start_server: StartServer, receiver: Receiver, model: ScriptedServer
) -> None:
    model.script(says("Fine."))
    async with start_server() as client:
        refused = await client.call("POST", "/webhook_endpoints", {"url": f"https://127.0.0.1:{receiver.port}/"})
        assert refused.error[0::2] == (400, "url")
        assert "private address" in refused.error[1]
        # A name is checked only when it is resolved.
        made = await client.post("/webhook_endpoints", {"url": f"https://localhost:{receiver.port}/hook"})
        tested = await client.post(f"/webhook_endpoints/{made['id']}/test")
        assert (tested["delivered"], tested["status"]) == (False, None)
        assert tested["error"].startswith("localhost has no address, or a private one")
        await client.settled(await run_of(client, "Hi"))
        async with asyncio.timeout(WAIT_S):
            while (shown := await client.get(f"/webhook_endpoints/{made['id']}"))["last_error"] is None:
                await asyncio.sleep(0.05)
        assert shown["last_error"].startswith("localhost has no address, or a private one")
    assert receiver.messages == []


async def test_an_endpoint_that_answers_410_is_disabled(
    client: Client, receiver: Receiver, model: ScriptedServer
) -> None:
    receiver.answer = lambda event, path: 410
    model.script(says("One."), says("Two."), says("Three."))
    made = await create_endpoint(client, receiver, events=["thread.run.completed"])
    path = f"/webhook_endpoints/{made['id']}"
    with capture_logs() as logged:
        await client.settled(await run_of(client, "Hi"))
        async with asyncio.timeout(WAIT_S):
            while (shown := await client.get(path))["status"] == "enabled":
                await asyncio.sleep(0.02)
    assert shown["disabled_reason"] == "It answered with status 410: it wants no more."
    [line] = [entry for entry in logged if entry["event"] == "webhook_endpoint_disabled"]
    assert (line["log_level"], line["endpoint_id"]) == ("error", made["id"])
    await client.settled(await run_of(client, "Hi"))
    receiver.answer = lambda event, path: 200
    again = await client.post(path, {"status": "enabled"})
    assert (again["status"], again["disabled_reason"]) == ("enabled", None)
    third = await client.settled(await run_of(client, "Hi"))
    await receiver.until(lambda got: any(one.event["data"]["id"] == third["id"] for one in got))
    assert len(receiver.messages) == 2, "the endpoint gets no messages for the time when it was disabled"


@pytest.mark.usefixtures("quick")
async def test_an_endpoint_that_fails_for_long_is_disabled(
    client: Client, receiver: Receiver, model: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "PATIENCE", 0.0)
    monkeypatch.setattr(schedule, "MIN_FAILURES", 3)
    receiver.answer = lambda event, path: 500
    model.script(says("One."))
    made = await create_endpoint(client, receiver, events=["thread.run.completed"])
    await client.settled(await run_of(client, "Hi"))
    async with asyncio.timeout(WAIT_S):
        while (shown := await client.get(f"/webhook_endpoints/{made['id']}"))["status"] == "enabled":
            await asyncio.sleep(0.02)
    assert shown["disabled_reason"].startswith("It has taken nothing for 0 hours: it answered with status 500")
    assert len(receiver.messages) == 3


async def test_an_endpoint_that_is_too_far_behind_is_disabled(
    client: Client, receiver: Receiver, model: ScriptedServer, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(couriers, "MAX_WAITING", 3)
    monkeypatch.setattr(couriers, "TIDY_EVERY_S", 0.1)
    receiver.must_wait = lambda event, path: True
    model.script(says("One."))
    made = await create_endpoint(client, receiver)
    await client.settled(await run_of(client, "Hi"))
    async with asyncio.timeout(WAIT_S):
        while (shown := await client.get(f"/webhook_endpoints/{made['id']}"))["status"] == "enabled":
            await asyncio.sleep(0.02)
    assert shown["disabled_reason"] == "More than 3 messages wait for it."
    receiver.may_answer.set()
    await wait_until_delivered(pool)


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


async def test_enabling_an_endpoint_resets_its_failures(
    client: Client, receiver: Receiver, model: ScriptedServer, pool: Pool
) -> None:
    """The next failure counts as the first: the message is repeated and not given up."""
    made = await create_endpoint(client, receiver, events=["thread.run.completed"])
    path = f"/webhook_endpoints/{made['id']}"
    await client.post(path, {"status": "disabled"})
    await pool.execute(
        "UPDATE webhook_work SET failures = 12, last_error = 'x', failing_since = now() - interval '4 days',"
        " rests_until = now() + interval '1 h'"
    )
    enabled = await client.post(path, {"status": "enabled"})
    assert (enabled["failing_since"], enabled["last_error"]) == (None, None)
    receiver.answer = lambda event, path: 500
    model.script(says("One."))
    await client.settled(await run_of(client, "Hi"))
    async with asyncio.timeout(WAIT_S):
        while (shown := await client.get(path))["last_error"] is None:
            await asyncio.sleep(0.02)
    assert (shown["status"], shown["last_error"]) == ("enabled", "answered with status 500")
    assert await pool.fetchval("SELECT attempts FROM webhook_deliveries") >= 1


async def test_messages_of_the_time_when_an_endpoint_was_disabled_are_not_delivered(
    client: Client, receiver: Receiver, model: ScriptedServer, pool: Pool
) -> None:
    receiver.must_wait = lambda event, path: True
    made = await create_endpoint(client, receiver, events=["thread.run.completed"])
    model.script(says("One."))
    await client.settled(await run_of(client, "Hi"))
    path = f"/webhook_endpoints/{made['id']}"
    await client.post(path, {"status": "disabled"})
    await client.post(path, {"status": "enabled"})
    assert await pool.fetchval("SELECT count(*) FROM webhook_deliveries") == 0
    receiver.may_answer.set()


async def test_endpoints_that_fail_leave_couriers_to_others(
    client: Client, receiver: Receiver, model: ScriptedServer, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(couriers, "MAX_COURIERS", 3)
    monkeypatch.setattr(couriers, "MAX_FAILING", 2)
    receiver.must_wait = lambda event, path: path != "/well"
    bad = [await create_endpoint(client, receiver, f"/{number}") for number in range(3)]
    await pool.execute("UPDATE webhook_work SET failures = 1")
    await create_endpoint(client, receiver, "/well")
    model.script(says("One."))
    await client.settled(await run_of(client, "Hi"))
    await receiver.types(*PLAIN, path="/well")
    assert await pool.fetchval("SELECT count(*) FROM webhook_work WHERE process IS NOT NULL AND failures > 0") <= 2
    receiver.may_answer.set()
    for number in range(len(bad)):
        await receiver.until(lambda got, path=f"/{number}": sum(one.path == path for one in got) == 3)  # type: ignore[misc]
