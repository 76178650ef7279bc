"""The acts of people in the log: tokens handed out, reads of auditors, failed sign-ins, starts."""

from __future__ import annotations

from typing import Any

import pytest

from events import event_log
from events.actors import KeyActor, ProcessActor, actor_text
from events.clients import ClientFacts
from events.envelope import Origin
from events.errors import Rejection
from events.installation import INSTALLATION_ID
from service.audit import acts
from service.audit.acts import ActRecorder
from service.audit.clients import ClientRecorder
from service.cli import admin
from service.database import Pool
from service.errors import CommandError
from service.settings import Settings
from service.tasks.background import background
from tests.client import KEY, Client
from tests.clock import CLOCK, IDS
from tests.conftest import StartServer
from tests.http.files import upload
from tests.http.keys import as_key, make_key, writer

AUDITOR = Origin("proj_1", KeyActor("key_1"), "req_1")


async def recorded(pool: Pool, *types: str) -> list[dict[str, Any]]:
    """Returns the contents of the installation's events of these types, each with its actor, in order."""
    async with pool.acquire() as db:
        found = await event_log.read(db, INSTALLATION_ID)
    return [
        {"actor": actor_text(entry.actor)} | entry.event.model_dump(exclude={"type"})
        for entry in found
        if entry.event.type in types
    ]


def recorder_of(pool: Pool) -> ActRecorder:
    clients = ClientRecorder(pool, keep_days=1, clock=CLOCK, ids=IDS)
    return ActRecorder(writer(pool), clients, process=7)


async def test_a_start_is_recorded_without_secrets(start_server: StartServer, pool: Pool) -> None:
    async with start_server(), start_server():
        pass
    [first, second] = await recorded(pool, "server.started")
    assert first["actor"].startswith("process:")
    assert first["actor"] != second["actor"]
    assert len(await recorded(pool, "installation.created")) == 1
    assert [epoch["number"] for epoch in await recorded(pool, "epoch.begun")] == [1]


def test_settings_are_named_without_secrets() -> None:
    settings = Settings.load(
        database_url="postgresql://a:secret@db/x", host="0.0.0.0", api_key="secret", model_base_url="http://u:secret@m"
    )
    described = settings.describe_changes()
    assert described.pop("model_base_url") == "http://m"
    assert described["host"] == "0.0.0.0"
    assert described["api_key"] == described["database_url"] == "set"
    assert "secret" not in str(described)


async def test_tokens_and_links_are_recorded_before_they_are_sent(client: Client, pool: Pool) -> None:
    thread = await client.post("/threads", {})
    file_id = (await upload(client))["id"]
    token = await client.post(f"/threads/{thread['id']}/stream_tokens", {})
    link = await client.post(f"/files/{file_id}/links", {})
    common = {"actor": "key:default", "project_id": "proj_default"}
    assert await recorded(pool, "token.created") == [
        common | {"purpose": "stream", "object_id": thread["id"], "expires_at": token["expires_at"]},
        common | {"purpose": "file", "object_id": file_id, "expires_at": link["expires_at"]},
    ]


async def test_reads_of_auditors_are_recorded(start_server: StartServer, pool: Pool) -> None:
    async with start_server() as client:
        key_id, key = await make_key(pool, scope="audit:content")
        async with Client(client.base_url, key=key) as auditor:
            for _ in range(3):
                await auditor.get("/assistants")
            assert [read["count"] for read in await recorded(pool, "audit.read")] == [1]
            await auditor.call("GET", "/threads/thread_x")
    reads = [(read["actor"], read["path"], read["count"]) for read in await recorded(pool, "audit.read")]
    actor = f"key:{key_id}"
    assert reads == [(actor, "/v1/assistants", 1), (actor, "/v1/threads/thread_x", 1), (actor, "/v1/assistants", 2)]


async def test_failed_sign_ins_are_counted_by_address(start_server: StartServer, pool: Pool) -> None:
    async with start_server() as client, Client(client.base_url, key="wrong") as stranger:
        for _ in range(4):
            assert (await stranger.call("GET", "/assistants")).status == 401
    [failed] = await recorded(pool, "sign_ins.failed")
    assert (failed["credential"], failed["count"]) == ("key", 4)
    assert failed["request_id"].startswith("req_")


async def test_strangers_cannot_grow_the_log(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acts, "MAX_ADDRESSES", 2)
    recorder = recorder_of(pool)
    for number in range(10):
        recorder.count_failed_sign_in("key", f"192.0.2.{number}", f"req_{number}", ClientFacts(None))
    await recorder.write_counts()
    await recorder.write_counts()
    found = await recorded(pool, "sign_ins.failed")
    assert [(failed["request_id"], failed["count"]) for failed in found] == [("req_0", 1), ("req_1", 1), (None, 8)]
    assert {failed["actor"] for failed in found} == {actor_text(ProcessActor(7))}


async def test_reads_beyond_the_bound_are_events_of_their_own(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acts, "MAX_PATHS", 1)
    recorder = recorder_of(pool)
    async with background(recorder.run_writes()):
        for path in ("/a", "/b", "/a", "/b"):
            await recorder.record_read(AUDITOR, path)
    await recorder.write_counts()
    found = await recorded(pool, "audit.read")
    assert [(read["path"], read["count"]) for read in found] == [("/a", 1), ("/b", 1), ("/b", 1), ("/a", 1)]


async def test_counts_are_kept_while_the_database_is_away(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = recorder_of(pool)
    recorder.count_failed_sign_in("key", "192.0.2.1", "req_1", ClientFacts(None))

    async def fail(*_: object) -> None:
        raise OSError("no database")

    with monkeypatch.context() as broken:
        broken.setattr(recorder._writer, "write_group", fail)
        await recorder.write_counts()
    recorder.count_failed_sign_in("key", "192.0.2.1", "req_2", ClientFacts(None))
    await recorder.write_counts()
    assert [failed["count"] for failed in await recorded(pool, "sign_ins.failed")] == [2]


async def test_a_key_for_all_projects_is_for_audits_only(client: Client, pool: Pool) -> None:
    with pytest.raises(CommandError, match="only keys with the scope audit"):
        await make_key(pool, "all", scope="full")
    async with await as_key(client, pool, "all", scope="audit:content") as auditor:
        assert (await auditor.get("/assistants"))["data"] == []
    with pytest.raises(Rejection, match="already"):
        await admin.create_project(writer(pool), "all", ids=IDS)
    assert KEY not in str(await recorded(pool, "server.started"))
