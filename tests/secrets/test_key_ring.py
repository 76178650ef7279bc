"""The keys of a process that meets one that it does not have."""

from __future__ import annotations

import asyncio

from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from structlog.testing import capture_logs

from service.database import DATABASE_ERRORS
from service.errors import StartupError
from service.http import errors
from service.secrets.key_ring import KeyMissing, KeyRing, id_of, new_secret


async def test_all_callers_wait_for_the_same_reading_of_the_keys() -> None:
    secret, ring, may_read, readings = new_secret(), KeyRing(), asyncio.Event(), 0

    async def read() -> list[bytes]:
        nonlocal readings
        readings += 1
        await may_read.wait()
        return [secret]

    ring.read_from(read)
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        for _ in range(5):
            tasks.create_task(ring.require(id_of(secret)))
        await asyncio.sleep(0)
        may_read.set()
    assert readings == 1


async def test_the_next_caller_reads_if_the_first_is_cancelled() -> None:
    secret, ring, is_reading, readings = new_secret(), KeyRing(), asyncio.Event(), 0

    async def read() -> list[bytes]:
        nonlocal readings
        readings += 1
        if readings == 1:
            is_reading.set()
            await asyncio.Event().wait()
        return [secret]

    ring.read_from(read)
    first = asyncio.create_task(ring.require(id_of(secret)))
    await is_reading.wait()
    second = asyncio.create_task(ring.require(id_of(secret)))
    first.cancel()
    async with asyncio.timeout(10):
        await second


async def test_a_source_that_fails_is_asked_again_later() -> None:
    ring, readings = KeyRing(), 0

    async def read() -> list[bytes]:
        nonlocal readings
        readings += 1
        raise StartupError("the command ended with 1")

    ring.read_from(read)
    with capture_logs() as logs:
        results = await asyncio.gather(*(ring.require("0" * 16) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [KeyMissing] * 3
    assert readings == 1
    assert [entry["event"] for entry in logs] == ["encryption_keys_not_read"]


async def test_a_missing_key_is_worth_another_try() -> None:
    async def handle(_: web.Request) -> web.StreamResponse:
        raise KeyMissing("0" * 16)

    answer = await errors.map_errors(make_mocked_request("GET", "/v1/threads"), handle)
    assert answer.status == 503
    assert issubclass(KeyMissing, DATABASE_ERRORS)  # runs and other background work try again
