"""The release of runs when a server stops."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from service.app.drain import open_drain


async def test_a_stop_ends_after_the_release_of_the_runs() -> None:
    """The stop is a cancellation, which must not reach the release."""
    begun, may_end, steps = asyncio.Event(), asyncio.Event(), list[str]()

    async def release() -> None:
        begun.set()
        await may_end.wait()
        steps.append("released")

    async def serve() -> None:
        async with open_drain(release, lambda: None) as drain:
            try:
                await asyncio.Event().wait()
            finally:
                drain.begin()

    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(serve())
        await asyncio.sleep(0)
        serving.cancel()
        await begun.wait()
        assert not serving.done()
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await serving
        assert steps == ["released"]


async def test_a_release_that_fails_is_logged_and_does_not_hinder_the_stop() -> None:
    async def release() -> None:
        raise ValueError("no runs")

    with capture_logs() as entries:
        async with open_drain(release, lambda: None) as drain:
            drain.begin()
    assert [entry["event"] for entry in entries] == ["runs_not_released"]


async def test_a_start_that_fails_has_nothing_to_release() -> None:
    async def release() -> None:
        raise AssertionError

    with pytest.raises(ExceptionGroup, match="unhandled"):
        async with open_drain(release, lambda: None):
            raise ValueError("the start")
