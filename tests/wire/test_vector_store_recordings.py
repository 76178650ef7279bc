"""Replays recorded traffic of vector stores. Forms were not recorded, so they are rebuilt from the answers.

Our server differs from the original in two points. The original lists the files of a batch in an arbitrary order, ours
in the order of the batch. And the original's list of stores lacks some that were created a moment before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.client import Answer, Client
from tests.fake_search_engine import WAIT_S
from tests.http.files import form, send
from tests.http.stores import store_with
from tests.wire.replay import RECORDINGS, Exchange, Mapping, load

NAMES = sorted(path.stem for path in RECORDINGS.glob("vector_stores_*.json"))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
async def test_recording(client: Client, name: str) -> None:
    exchanges, mapping = _in_order(load(name)), Mapping()
    await _create_earlier_stores(client, mapping, exchanges)
    for at, exchange in enumerate(exchanges):
        if exchange.path.startswith("/vector_stores?"):
            await _forget_what_is_not_shown(client, mapping, exchange)
        answer = await _exchange(client, mapping, exchange)
        assert answer.status == 200, answer.body
        recorded, ours = _comparable(exchange.response, answer.body)
        assert mapping.differences(recorded, ours, f"{at} {exchange.method} {exchange.path}") == []


def _in_order(exchanges: Sequence[Exchange]) -> list[Exchange]:
    """Returns the exchanges as if the requests had named the files of batches in the order of the recorded lists."""
    shown: dict[str, None] = {}
    for exchange in exchanges:
        if "/file_batches/" in exchange.path and "before=" not in exchange.path:
            shown |= dict.fromkeys(file["id"] for file in exchange.response["data"])
    return [_one_in_order(exchange, list(shown)) for exchange in exchanges]


def _one_in_order(exchange: Exchange, shown: list[str]) -> Exchange:
    if "vsfb_ibj" in exchange.path:
        path = exchange.path.replace("order=desc", "order=asc").replace("?filter", "?order=asc&filter")
        return replace(exchange, path=path)
    if exchange.path.endswith("/file_batches") and shown:
        assert sorted(exchange.request["file_ids"]) == sorted(shown)
        ids = shown if "vsfb_ibj" in exchange.response["id"] else shown[::-1]
        return replace(exchange, request={"file_ids": ids})
    return exchange


async def _create_earlier_stores(client: Client, mapping: Mapping, exchanges: Sequence[Exchange]) -> None:
    """Creates stores like those of earlier tests in the recorded account, which lists show, and one more page."""
    made = {exchange.response.get("id") for exchange in exchanges}
    shown = [exchange.response["data"] for exchange in exchanges if exchange.path.startswith("/vector_stores?")]
    before = [one for data in shown for one in data if one["id"] not in made]
    for one in [*before, {"name": None, "expires_after": None, "file_counts": {"total": 0}}][::-1]:
        names = [f"{n}.txt" for n in range(one["file_counts"]["total"])]
        settings = {key: one[key] for key in ("name", "expires_after")}
        found = await store_with(client, *names, **settings) if before else None
        if found is not None and "id" in one:
            mapping.ids[one["id"]] = found["id"]


async def _forget_what_is_not_shown(client: Client, mapping: Mapping, exchange: Exchange) -> None:
    shown = {mapping.ids.get(one["id"]) for one in exchange.response["data"]}
    for store in (await client.get("/vector_stores", limit="5"))["data"]:
        if store["name"] and store["id"] not in shown:
            await client.delete(f"/vector_stores/{store['id']}")


async def _exchange(client: Client, mapping: Mapping, exchange: Exchange) -> Answer:
    path, told = mapping.ours(exchange.path), exchange.response
    if (exchange.method, exchange.path) == ("POST", "/files"):
        content = b"x" * told["bytes"]
        fields = [("purpose", told["purpose"])]
        return await send(client, form(content, fields, filename=f'filename="{told["filename"]}"'), path)
    async with asyncio.timeout(WAIT_S):
        while True:
            answer = await client.call(exchange.method, path, mapping.request(exchange.request))
            if exchange.method != "GET" or not _is_still_indexing(told, answer.body):
                return answer
            await asyncio.sleep(0.005)


def _is_still_indexing(recorded: Any, ours: Any) -> bool:
    """Whether our server still indexes files that were completed in the recording."""
    if recorded.get("object") != "list":
        return bool(recorded.get("status") == "completed" and ours.get("status") == "in_progress")
    return any(_is_still_indexing(one, our) for one, our in zip(recorded["data"], ours["data"], strict=False))


def _comparable(recorded: Any, ours: Any) -> tuple[Any, Any]:
    """Gives our answer the progress of the recorded one, and the recorded answer our count of bytes."""
    if recorded.get("object") == "list":
        pairs = [_comparable(one, our) for one, our in zip(recorded["data"], ours["data"], strict=True)]
        return {**recorded, "data": [one for one, _ in pairs]}, {**ours, "data": [our for _, our in pairs]}
    slower = recorded.get("status") == "in_progress"
    taken_back = {key: recorded[key] for key in ("status", "file_counts") if slower and key in recorded}
    counted = {"usage_bytes": ours["usage_bytes"]} if "usage_bytes" in recorded else {}
    return {**recorded, **counted}, {**ours, **taken_back}
