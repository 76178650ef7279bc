"""Acts of many callers at several server processes at once: none is refused, and no answered one is lost by a kill."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import aiohttp
import pytest

from sql.connection import Connection
from tests.audit.test_verification import verify
from tests.crash.conftest import Server, Start

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PROCESSES, CALLERS, TOKENS = 4, 64, 20


async def test_tokens_of_many_callers(start: Start, db: Connection, database_url: str) -> None:
    answered, refused, is_killed = list[str](), list[str](), asyncio.Event()

    async def call(server: Server, thread: str, *, may_die: bool) -> None:
        for _ in range(TOKENS):
            try:
                answer = await server.client.call("POST", f"/threads/{thread}/stream_tokens", {})
            except aiohttp.ClientError:
                assert may_die
                return
            if answer.status == 200:
                answered.append(answer.headers["x-request-id"])
                if len(answered) == CALLERS * TOKENS // 2:
                    is_killed.set()
            elif not may_die:
                refused.append(str(answer.body))

    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(start()) for _ in range(PROCESSES)]
        thread = (await servers[0].client.post("/threads", {}))["id"]
        async with asyncio.TaskGroup() as callers:
            for number in range(CALLERS):
                process = number % PROCESSES
                callers.create_task(call(servers[process], thread, may_die=process == 3))
            await is_killed.wait()
            await servers[3].kill()
        assert refused == []
        recorded = await db.fetch("SELECT request_id FROM events WHERE type = 'token.created'")
        assert {*answered} <= {row["request_id"] for row in recorded}
        assert len(answered) >= CALLERS * TOKENS * (PROCESSES - 1) // PROCESSES
        # The clients of acts are written before the acts. Other rows of a killed process may be missing.
        clients = await db.fetch("SELECT request_id FROM request_clients")
        assert {*answered} <= {row["request_id"] for row in clients}
        await db.execute("DELETE FROM request_clients WHERE request_id = $1", answered[0])
        assert await verify(database_url) == []
