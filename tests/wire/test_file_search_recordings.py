"""Replays recorded traffic of file search with the real parser, indexer and search.

The search must find the recorded passages with the recorded text. Scores may differ, above the recorded threshold.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.client import Client
from tests.http.files import form, send
from tests.scripted import ScriptedServer, calls, says
from tests.wire.replay import Exchange, Mapping, load, merge_deltas

WAIT_S = 60.0
ASKED = '{"queries": ["Filip\'s favorite food"]}'
NAMES = ["file_search_streaming_works", "file_search_works"]


@pytest.fixture
def search_engine() -> None:
    """Makes the server use the search engine of its settings, with the embedded model."""


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
async def test_recording(client: Client, model: ScriptedServer, name: str) -> None:
    exchanges, mapping = load(name), Mapping()
    recorded_calls = [one for told in exchanges for one in _calls(told.response)]
    text = next(one["content"][0]["text"] for call in recorded_calls for one in call["file_search"]["results"])
    said, usages = _text_pieces(exchanges), _usages(exchanges)
    model.script(calls(("file_search", ASKED), usage=usages[0]), says("".join(said), pieces=said, usage=usages[1]))
    for at, exchange in enumerate(exchanges):
        found = await _exchange(client, mapping, exchange, text)
        recorded, ours = _comparable(exchange.response, found)
        assert mapping.differences(recorded, ours, f"{at} {exchange.method} {exchange.path}") == []


async def _exchange(client: Client, mapping: Mapping, exchange: Exchange, text: str) -> Any:
    path, told = mapping.ours(exchange.path), exchange.response
    if exchange.path == "/files":
        made = await send(client, form(text.encode(), filename=f'filename="{told["filename"]}"'))
        return {**made.body, "bytes": told["bytes"]}  # the original counts bytes that its text does not have
    if isinstance(told, list):
        await _wait_for_indexing(client)
        return [(frame.event, frame.data) async for frame in client.stream(path, mapping.request(exchange.request))]
    if path.partition("?")[0].endswith("/runs"):
        await _wait_for_indexing(client)
    async with asyncio.timeout(WAIT_S):
        while True:
            answer = await client.call(exchange.method, path, mapping.request(exchange.request))
            assert answer.status == 200, answer.body
            if exchange.method != "GET" or answer.body.get("status") == told.get("status"):
                return answer.body
            await asyncio.sleep(0.01)


async def _wait_for_indexing(client: Client) -> None:
    """Waits until the stores are indexed, as the recording client did."""
    async with asyncio.timeout(WAIT_S):
        while any(one["status"] == "in_progress" for one in (await client.get("/vector_stores"))["data"]):
            await asyncio.sleep(0.01)


def _text_pieces(exchanges: list[Exchange]) -> list[str]:
    """Returns the text pieces of the answer."""
    for exchange in exchanges:
        if isinstance(exchange.response, list):
            deltas = [data["delta"] for event, data in exchange.response if event == "thread.message.delta"]
            return [delta["content"][0]["text"]["value"] for delta in deltas]
        if "/messages" in exchange.path:
            return [exchange.response["data"][0]["content"][0]["text"]["value"]]
    raise AssertionError("nothing was said")


def _usages(exchanges: list[Exchange]) -> list[tuple[int, int]]:
    """Returns the usage of each model call, in order."""
    for exchange in exchanges:
        steps: list[Any] = []
        if isinstance(exchange.response, list):
            steps = [data for event, data in exchange.response if event == "thread.run.step.completed"]
        elif "/steps?" in exchange.path:
            steps = exchange.response["data"][::-1]
        if steps:
            return [(step["usage"]["prompt_tokens"], step["usage"]["completion_tokens"]) for step in steps]
    raise AssertionError("no steps")


def _calls(response: Any) -> Iterator[Any]:
    """Returns every file_search call with results that the value contains."""
    if isinstance(response, dict):
        if response.get("type") == "file_search" and response.get("file_search", {}).get("results"):
            yield response
        for value in response.values():
            yield from _calls(value)
    elif isinstance(response, list | tuple):
        for value in response:
            yield from _calls(value)


def _comparable(recorded: Any, ours: Any) -> tuple[Any, Any]:
    """Checks our scores and replaces them by the recorded ones, and gives our run the progress of the recorded run."""
    if isinstance(recorded, list):
        left, right = merge_deltas(recorded), merge_deltas(ours)
        both = zip(left, right, strict=True)
        pairs = [_comparable(a[1], b[1]) if isinstance(a[1], dict) else (a[1], b[1]) for a, b in both]
        assert [event for event, _ in left] == [event for event, _ in right]
        return [one for one, _ in pairs], [our for _, our in pairs]
    for theirs, mine in zip(_calls(recorded), _calls(ours), strict=True):
        least = theirs["file_search"]["ranking_options"]["score_threshold"]
        for one, our in zip(theirs["file_search"]["results"], mine["file_search"]["results"], strict=True):
            assert least <= our["score"] <= 1
            our["score"] = one["score"]
    if recorded.get("status") == "queued" and ours["status"] == "in_progress":
        ours = {**ours, "status": "queued", "started_at": None}
    return recorded, ours
