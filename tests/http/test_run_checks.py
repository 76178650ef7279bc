"""While a server works, the threads of some runs are compared with their events."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from service.audit import run_checks
from service.telemetry import health
from sql.connection import Connection
from tests.client import Client
from tests.conftest import StartServer
from tests.http.helpers import run_of
from tests.http.test_metrics import scraped, value

WAIT_S = 60.0


async def checks(client: Client, outcome: str) -> float:
    return value(await scraped(client), "run_checks_total", outcome=outcome) or 0.0


async def health_of(client: Client) -> dict[str, Any]:
    async with client.session.get(client.base_url.removesuffix("/v1") + "/healthz") as response:
        content: dict[str, Any] = await response.json()
        return content


@pytest.fixture(autouse=True)
def uncached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "CACHE_S", 0.0)


async def test_a_changed_view_is_found(
    start_server: StartServer, db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with asyncio.timeout(WAIT_S), start_server(verify_runs=1) as client:
        run = await run_of(client, "Hi")
        await client.settled(run)
        while not await checks(client, "same"):
            await asyncio.sleep(0.05)
        assert (await health_of(client))["views"] == "ok"
        [message] = await db.fetch(
            "SELECT message_id FROM messages WHERE thread_id = $1 AND run_id IS NULL", run["thread_id"]
        )
        change = "UPDATE messages SET deleted = NOT deleted WHERE message_id = $1"
        await db.execute(change, message["message_id"])
        again = {"assistant_id": run["assistant_id"]}
        await client.settled(await client.post(f"/threads/{run['thread_id']}/runs", again))
        while (found := await health_of(client))["views"] == "ok":
            await asyncio.sleep(0.05)
        text = f"the row {message['message_id']} of messages was changed"
        assert (found["status"], found["views"]) == (
            "degraded",
            f"{run['thread_id']}: {text}; see everthread verify",
        )
        assert await checks(client, "different") >= 1
        # A mended thread is found with the next check.
        await db.execute(change, message["message_id"])
        await client.settled(await client.post(f"/threads/{run['thread_id']}/runs", again))
        while (await health_of(client))["views"] != "ok":
            await asyncio.sleep(0.05)


async def test_one_run_in_n(start_server: StartServer) -> None:
    async with asyncio.timeout(WAIT_S), start_server(verify_runs=3) as client:
        for number in range(7):
            await client.settled(await run_of(client, "Hi"))
            while await checks(client, "same") < (number + 1) // 3:
                await asyncio.sleep(0.05)
            assert await checks(client, "same") == (number + 1) // 3


async def test_none_is_checked_if_the_setting_is_0(start_server: StartServer) -> None:
    checker = run_checks.RunChecker("postgresql://nowhere", every=0)
    async with start_server(verify_runs=0) as client:
        await client.settled(await run_of(client, "Hi"))
        assert [await checks(client, outcome) for outcome in checker.ended] == [0, 0, 0]
