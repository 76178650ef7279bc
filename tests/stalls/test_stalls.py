"""No request holds the event loop: GET /healthz is answered while every operation gets its worst bodies."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest

from service.http.route import PASSED_BODY, FormBody, Route
from service.http.routes import ROUTES
from service.wire.fields import MAX_PAGE
from tests.client import KEY, Client
from tests.forked import ForkedServer
from tests.scripted import ScriptedServer
from tests.stalls.objects import create_large_objects, create_objects
from tests.stalls.poller import Poller
from tests.stalls.probes import Probe, Probes
from tests.stalls.worst_bodies import LEGAL, write_models_file

# The goal is 50 ms, which `scripts/bench stall` shows; the tests must pass on busy machines.
MOST_MS = 500.0
# Another program may take the processor for a moment, but hardly three times during the same request.
TRIES = 3
Stalls = dict[str, float]


@pytest.fixture
async def process(database_url: str, model: ScriptedServer, tmp_path: Path) -> AsyncIterator[ForkedServer]:
    """A server in a process of its own."""
    environment = {
        **os.environ,
        "EVERTHREAD_DATABASE_URL": database_url,
        "EVERTHREAD_DATA_DIR": str(tmp_path / "data"),
        "EVERTHREAD_API_KEY": KEY,
        "EVERTHREAD_MODEL_BASE_URL": model.base_url,
        "EVERTHREAD_MODELS": write_models_file(str(tmp_path)),
        "EVERTHREAD_CODE_INTERPRETER": "off",
        "EVERTHREAD_LOG_LEVEL": "error",
    }
    async with ForkedServer(environment) as process:
        yield process


@pytest.fixture
async def server(process: ForkedServer) -> AsyncIterator[Client]:
    """A client of the server."""
    async with Client(process.base_url, validate=False) as client:
        yield client


@pytest.fixture
async def poller(process: ForkedServer) -> AsyncIterator[Poller]:
    async with Poller(process.base_url, process.pid) as poller:
        yield poller


def group_of(route: Route) -> str:
    """Returns the first two words of the path after /v1 that are no ids: a test of all routes would take minutes."""
    words = [word for word in route.plain_path.split("/")[1:] if not word.startswith("{")]
    return "/".join(words[1:3])


def long_ones(stalls: Stalls) -> Stalls:
    return {name: longest for name, longest in stalls.items() if longest > MOST_MS}


def test_every_operation_with_a_large_body_has_a_worst_legal_body() -> None:
    large = {route.name for route in ROUTES if route.body is not None and route.limit.bytes > 1024**2}
    unbuilt = {route.name for route in ROUTES if isinstance(route.body, FormBody) or route.limit is PASSED_BODY}
    assert large - unbuilt == {name for name in LEGAL if name in large}


async def stalls_of(poller: Poller, probes: Iterable[Probe]) -> Stalls:
    """Returns the longest answer of GET /healthz during each probe, the least of up to TRIES."""
    stalls: Stalls = {}
    for probe in probes:
        name, longest = f"{probe.route.name}: {probe.kind}", [MOST_MS + 1]
        while min(longest) > MOST_MS and len(longest) <= TRIES:
            ids = await probe.prepare()
            await poller.longest_ms()
            status = await probe.send(ids)
            assert status < 500, name
            longest.append(await poller.longest_ms())
        stalls[name] = min(longest)
    return stalls


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("group", sorted({group_of(route) for route in ROUTES if route.method == "POST"}))
async def test_no_body_holds_the_event_loop(server: Client, poller: Poller, model: ScriptedServer, group: str) -> None:
    posts = [route for route in ROUTES if route.method == "POST" and group_of(route) == group]
    probes = Probes(server, model, await create_objects(server))
    assert long_ones(await stalls_of(poller, probes.of(posts))) == {}


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_the_largest_objects_hold_nobody_up(server: Client, poller: Poller, model: ScriptedServer) -> None:
    others = [route for route in ROUTES if route.method != "POST"]
    probes = Probes(server, model, await create_large_objects(server, model, files=MAX_PAGE))
    assert long_ones(await stalls_of(poller, probes.of(others))) == {}


async def test_four_hostile_bodies_at_once_hold_nobody_up(
    server: Client, poller: Poller, model: ScriptedServer
) -> None:
    [create] = [route for route in ROUTES if route.name == "POST /v1/threads"]
    probes = [probe for probe in Probes(server, model, {}).of([create]) if probe.kind == "containers"] * 4
    await poller.longest_ms()
    await asyncio.gather(*(probe.send({}) for probe in probes))
    assert await poller.longest_ms() < MOST_MS


async def test_objects_have_the_ids_of_every_path(server: Client) -> None:
    """A new operation whose path has another parameter needs an object to be measured."""
    ids = await create_objects(server)
    named = {name for route in ROUTES for name in re.findall(r"\{(\w+)\}", route.plain_path)}
    assert named <= ids.keys()
