"""Webhooks that fail, end to end: retries, slow receivers, and endpoints that are disabled."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from service.database import Pool
from service.webhooks import couriers, schedule
from tests.client import WAIT_S, Client
from tests.conftest import StartServer
from tests.http.helpers import run_of
from tests.scripted import ScriptedServer, says
from tests.webhooks.helpers import PLAIN, create_endpoint, wait_until_delivered
from tests.webhooks.receiver import Receiver


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


@pytest.mark.slow
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


@pytest.mark.slow
async def test_private_addresses_are_refused(
    start_server: StartServer, receiver: Receiver, model: ScriptedServer
) -> None:
    model.script(says("Fine."))
    async with start_server() as client:
        refused = await client.call("POST", "/webhook_endpoints", {"url": f"https://127.0.0.1:{receiver.port}/"})
        assert refused.error[0::2] == (400, "url")
        assert "private address" in refused.error[1]
        # The addresses of a name are checked when it is resolved.
        made = await client.post("/webhook_endpoints", {"url": f"https://hooks.invalid:{receiver.port}/hook"})
        tested = await client.post(f"/webhook_endpoints/{made['id']}/test")
        assert (tested["delivered"], tested["status"]) == (False, None)
        assert tested["error"].startswith("hooks.invalid has no address, or a private one")
        await client.settled(await run_of(client, "Hi"))
        async with asyncio.timeout(WAIT_S):
            while (shown := await client.get(f"/webhook_endpoints/{made['id']}"))["last_error"] is None:
                await asyncio.sleep(0.05)
        assert shown["last_error"].startswith("hooks.invalid has no address, or a private one")
    assert receiver.messages == []


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
async def test_enabling_an_endpoint_resets_its_failures(
    client: Client, receiver: Receiver, model: ScriptedServer, pool: Pool
) -> None:
    """The next failure counts as the first: the message is repeated and not given up."""
    made = await create_endpoint(client, receiver, events=["thread.run.completed"])
    path = f"/webhook_endpoints/{made['id']}"
    await client.post(path, {"status": "disabled"})
    await pool.execute(
        "UPDATE webhook_work SET failures = 12, last_error = 'x'::bytea, failing_since = now() - interval '4 days',"
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


@pytest.mark.slow
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
