"""GET /v1/audit/events/{stream}/{version}/proof, and pages of the feed with the newest event first."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from service.audit import verify_proof
from service.cli import admin
from service.database import Pool
from tests.client import Client
from tests.clock import IDS
from tests.http.helpers import thread_with
from tests.http.keys import as_key, writer

WAIT_S = 60.0


async def read_proof(client: Client, thread: Any, version: int, **query: str) -> tuple[str, str]:
    """Returns the proof and its file name, as soon as a signed checkpoint covers the event."""
    url = f"{client.base_url}/audit/events/{thread['id']}/{version}/proof"
    async with asyncio.timeout(WAIT_S):
        while True:
            async with client.session.get(url, params=query, headers=client.headers) as response:
                if response.status == 200:
                    return await response.text(), response.headers["Content-Disposition"]
                assert response.status in (404, 409)


async def test_a_proof_is_verified_by_the_shipped_file(
    client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    thread = await thread_with(client, "Secret words")
    asked: tuple[tuple[dict[str, str], bool], ...] = (({}, False), ({"include": "content"}, True))
    for query, is_shown in asked:
        proof, disposition = await read_proof(client, thread, 2, **query)
        assert disposition == f'attachment; filename="{thread["id"]}-2.tlog-proof"'
        file = tmp_path / "event.tlog-proof"
        file.write_text(proof, encoding="utf-8")
        assert verify_proof.main([str(file), "--key", (tmp_path / "audit" / "log.vkey").read_text().strip()]) == 0
        assert ("Secret words" in capsys.readouterr().out) is is_shown


async def test_proofs_need_an_event_of_the_project_and_a_scope(client: Client, pool: Pool) -> None:
    ours = await thread_with(client, "Hi")
    await read_proof(client, ours, 2)
    await admin.create_project(writer(pool), "Theirs", ids=IDS)
    async with (
        await as_key(client, pool, scope="read") as reader,
        await as_key(client, pool, scope="audit") as auditor,
        await as_key(client, pool, "Theirs") as them,
    ):
        path = f"/audit/events/{ours['id']}/2/proof"
        assert (await reader.call("GET", path)).status == 403
        await read_proof(auditor, ours, 2)
        assert (await auditor.call("GET", path, include="content")).status == 403
        assert (await them.call("GET", path)).status == 404
    for version in ("3", "0", "x", "9" * 30, "-1"):
        assert (await client.call("GET", f"/audit/events/{ours['id']}/{version}/proof")).status == 404
    assert (await client.call("GET", path, content="yes")).error[3] == "unknown_parameter"


async def test_pages_with_the_newest_event_first(client: Client) -> None:
    thread = await thread_with(client, "Hi")
    await read_proof(client, thread, 2)
    newest = await client.get("/audit/events", stream_id=thread["id"], order="desc", limit="1")
    assert [event["version"] for event in newest["data"]] == [2]
    assert newest["has_more"]
    rest = await client.get(
        "/audit/events", stream_id=thread["id"], order="desc", limit="5", after=str(newest["last_index"])
    )
    assert [event["version"] for event in rest["data"]] == [1]
    assert not rest["has_more"]
    refused = await client.call("GET", "/audit/events", order="desc", stream="true")
    assert refused.error[2] == "order"
