"""Replays recorded traffic of files and uploads. Forms were not recorded, so they are rebuilt from the answers."""

from __future__ import annotations

import pytest

from tests.client import Answer, Client
from tests.http.files import form, send
from tests.wire.replay import RECORDINGS, Exchange, Mapping, load

NAMES = sorted(path.stem for kind in ("files_", "uploads_") for path in RECORDINGS.glob(f"{kind}*.json"))
PARTS = [b"abcd", b"efgh"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
async def test_recording(client: Client, name: str) -> None:
    mapping, parts = Mapping(), list(PARTS)
    for at, exchange in enumerate(load(name)):
        answer = await _exchange(client, mapping, exchange, parts)
        if isinstance(exchange.response, str):  # shortened
            assert {file["purpose"] for file in answer.body["data"]} == {"assistants"}
            continue
        assert mapping.differences(exchange.response, answer.body, f"{at} {exchange.path}") == []


async def _exchange(client: Client, mapping: Mapping, exchange: Exchange, parts: list[bytes]) -> Answer:
    path, told = mapping.ours(exchange.path), exchange.response
    match exchange.method, exchange.path.rpartition("/")[2]:
        case "POST", "files":
            refused = "error" in told
            fields = [("purpose", "world_domination" if refused else told["purpose"])]
            content = b"x" * (1 if refused else told["bytes"])
            name = "a.txt" if refused else told["filename"]
            return await send(client, form(content, fields, filename=f'filename="{name}"'), path)
        case "POST", "parts":
            return await send(client, form(parts.pop(0), (), name="data"), path)
        case "POST", "uploads":
            asked = {"filename": told["filename"], "purpose": told["purpose"], "bytes": 8, "mime_type": "text/jsonl"}
            return await client.call("POST", path, exchange.request or asked)
        case "POST", "complete":
            made = [ours for recorded, ours in mapping.ids.items() if recorded.startswith("part_")]
            return await client.call("POST", path, {"part_ids": made})
        case method, _:
            return await client.call(method, path, exchange.request)


async def test_a_file_on_a_message(client: Client) -> None:
    exchanges = load("file_on_message_works")
    made = await send(client, form(b"text"))
    mapping = Mapping({"file-LEY8LWxuCKn5TNcydztuW1": made.body["id"]})
    for at, exchange in enumerate(exchanges):
        answer = await client.call(exchange.method, mapping.ours(exchange.path), mapping.request(exchange.request))
        assert mapping.differences(exchange.response, answer.body, f"{at} {exchange.path}") == []
