"""GET /v1/organization/health: the state of each part, with remedies, and the deliveries of webhooks."""

from __future__ import annotations

import asyncio
from typing import Any

from service.database import Pool
from service.wire.organization_health import REMEDIES, render_health
from tests.client import Client
from tests.http.helpers import run_of
from tests.http.keys import as_key
from tests.scripted import ScriptedServer, says

WAIT_S = 60.0


async def test_every_part_has_a_state_and_a_remedy(client: Client, pool: Pool) -> None:
    found = await client.get("/organization/health")
    parts = {part["name"]: part for part in found["parts"]}
    assert {"database", "model", "disk", "audit_log"} <= parts.keys() <= REMEDIES.keys()
    assert parts["database"] == {"name": "database", "status": "ok", "problem": None, "remedy": None}
    async with await as_key(client, pool, scope="full") as other:
        assert (await other.call("GET", "/organization/health")).status == 403


def test_the_worst_part_decides() -> None:
    broken = render_health([("database", "gone", "unavailable"), ("views", "x", "degraded"), ("disk", None, "ok")])
    assert (broken["status"], broken["parts"][0]["remedy"]) == ("unavailable", REMEDIES["database"])
    assert render_health([("views", "x", "degraded")])["status"] == "degraded"
    assert render_health([("disk", None, "unavailable")])["status"] == "ok"
    assert render_health([("new part", "x", "degraded")])["parts"][0]["remedy"] == "See the log of the process."


async def test_waiting_messages_are_listed_and_retried(client: Client, pool: Pool, model: ScriptedServer) -> None:
    model.script(says("Hello"))
    body = {"url": "https://hooks.invalid/", "events": ["thread.run.completed"]}
    endpoint = await client.post("/webhook_endpoints", body)
    path = f"/webhook_endpoints/{endpoint['id']}"
    assert (await client.get(f"{path}/deliveries"))["data"] == []
    run = await client.settled(await run_of(client, "Hi"))

    async def retrying() -> Any:
        async with asyncio.timeout(WAIT_S):
            while True:
                for found in (await client.get(f"{path}/deliveries"))["data"]:
                    if found["status"] == "retrying":
                        return found
                await asyncio.sleep(0.05)

    found = await retrying()
    assert (found["thread_id"], found["type"]) == (run["thread_id"], "thread.run.completed")
    await pool.execute("UPDATE webhook_deliveries SET due_at = now() + interval '1 hour'")
    await pool.execute("UPDATE webhook_work SET rests_until = now() + interval '1 hour'")
    assert (await client.post(f"{path}/deliveries/retry"))["retried"] == 1
    async with asyncio.timeout(WAIT_S):
        while (await retrying())["attempts"] <= found["attempts"]:
            await asyncio.sleep(0.05)
    await client.post(path, {"status": "disabled"})
    answer = await client.call("POST", f"{path}/deliveries/retry")
    assert (answer.status, answer.body["error"]["code"]) == (400, "endpoint_disabled")
    assert (await client.call("GET", f"{path}/deliveries", headers=None, limit="0")).status == 400
    assert (await client.call("GET", "/webhook_endpoints/we_none/deliveries")).status == 404
    assert (await client.call("POST", "/webhook_endpoints/we_none/deliveries/retry")).status == 404
