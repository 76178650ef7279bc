"""`everthread audit export` as an auditor uses it."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import orjson
import pytest

from events import event_log
from events.actors import actor_text
from events.clients import ClientFacts, commit_client, seal_client
from events.envelope import Origin
from events.installation import INSTALLATION_ID, INSTALLATION_PROJECT
from service.audit import audit_export
from service.audit.audit_export import ExportOrder, open_export
from service.audit.audit_feed import AuditFilter
from service.cli import admin
from service.database import Pool
from sql.connection import Connection
from tests.audit.sealing import grow, seal
from tests.cli.test_keys import everthread
from tests.clock import IDS
from tests.events.thread.story import add
from tests.forked import ForkedCommand
from tests.projections.helpers import ORIGIN, writer
from tests.wire.test_ocsf import faults

WAIT_S = 60.0


class Exporter:
    """Runs the command on the test's database."""

    def __init__(self, database_url: str, folder: Path) -> None:
        self.env = {"EVERTHREAD_DATABASE_URL": database_url}
        self.file = folder / "export.jsonl"

    def run(self, *arguments: str) -> tuple[int, list[dict[str, Any]], str]:
        """Returns the exit code, the events of the output, and the report."""
        code, output, report = everthread("audit", "export", *arguments, **self.env)
        return code, [orjson.loads(line) for line in output.splitlines()], report

    def lines(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in self.file.read_bytes().splitlines()]


@pytest.fixture
def exporter(database_url: str, tmp_path: Path) -> Exporter:
    return Exporter(database_url, tmp_path)


async def acts(db: Connection) -> list[dict[str, Any]]:
    """Returns the events of the installation, each with its actor."""
    found = await event_log.read(db, INSTALLATION_ID)
    return [{"actor": actor_text(entry.actor)} | entry.event.model_dump() for entry in found]


@pytest.mark.slow
async def test_the_events_are_exported_as_the_feed_has_them(exporter: Exporter, pool: Pool, db: Connection) -> None:
    size = await grow(pool, db)
    code, found, report = await asyncio.to_thread(exporter.run)
    assert code == 0, report
    assert [event["index"] for event in found] == [*range(size)]
    assert {"commitment", "leaf", "actor", "stream_id"} < found[0].keys()
    assert "content" not in found[0]
    assert report == f"Exported {size} events. Go on with --from {size}."
    _, found, _ = await asyncio.to_thread(exporter.run, "--content", "--type", "message.added", "--from", "2")
    assert [event["index"] for event in found] == [*range(2, size)]
    assert found[0]["content"]["type"] == "message.added"
    started, ended, second, _ = await acts(db)
    account = actor_text(admin.actor())
    assert (started["type"], started["actor"], started["first_index"], started["filters"]) == (
        "export.started",
        account,
        0,
        {},
    )
    assert not started["has_contents"]
    assert not started["is_following"]
    assert ended == {
        "actor": account,
        "type": "export.ended",
        "export_id": started["export_id"],
        "count": size,
        "last_index": size - 1,
    }
    assert (second["filters"], second["has_contents"]) == ({"type": "message.added"}, True)


@pytest.mark.slow
async def test_every_exported_event_is_valid_in_ocsf(exporter: Exporter, pool: Pool, db: Connection) -> None:
    client = seal_client(ClientFacts("192.0.2.1", None, "curl/8"), bytes(32))
    origin = Origin(ORIGIN.project_id, ORIGIN.actor, "req_9", client=commit_client(client))
    await grow(pool, db)
    await writer(pool).thread(origin, "thread_1", add("Hi", "msg_x"))
    await db.execute("INSERT INTO request_clients VALUES ('req_9', now(), $1)", client)
    await seal(db)
    await asyncio.to_thread(exporter.run)
    size = await seal(db)
    code, found, report = await asyncio.to_thread(exporter.run, "--format", "ocsf", "--content")
    assert code == 0, report
    assert [event["metadata"]["sequence"] for event in found] == [*range(size)]
    assert [fault for event in found for fault in faults(event)] == []
    assert [event["src_endpoint"] for event in found if event["metadata"].get("correlation_uid") == "req_9"] == [
        {"ip": "192.0.2.1"}
    ]
    assert orjson.loads(found[0]["raw_data"])["type"] == "thread.created"


@pytest.mark.slow
async def test_the_filters(exporter: Exporter, pool: Pool, db: Connection) -> None:
    await grow(pool, db)
    await grow(pool, db, "thread_2")
    for arguments, expected in (
        (["--stream", "thread_2"], 6),
        (["--actor", actor_text(ORIGIN.actor)], 12),
        (["--actor", "key:other"], 0),
        (["--project", ORIGIN.project_id, "--type", "thread.created", "--type", "thread.deleted"], 2),
        (["--request-id", "req_none"], 0),
        (["--since", "2999-01-01"], 0),
        (["--until", "2999-01-01"], 12),
    ):
        code, found, report = await asyncio.to_thread(exporter.run, *arguments)
        if arguments[0] == "--project":
            assert "no project" in report  # the test's project has no name or event
        else:
            assert (code, len(found)) == (0, expected), report
    await seal(db)
    _, found, _ = await asyncio.to_thread(exporter.run, "--project", "installation")
    assert {event["type"] for event in found} == {"export.started", "export.ended"}


@pytest.mark.slow
async def test_a_file_is_resumed_behind_its_last_event(exporter: Exporter, pool: Pool, db: Connection) -> None:
    size = await grow(pool, db)
    output = ("--output", str(exporter.file), "--stream", "thread_1")
    for format in ("jsonl", "ocsf"):
        exporter.file.unlink(missing_ok=True)
        assert (await asyncio.to_thread(exporter.run, "--format", format, *output, "--resume"))[0] == 0
        whole = exporter.file.read_bytes()
        assert len(exporter.lines()) == size
        assert exporter.file.stat().st_mode & 0o777 == 0o600
        code, _, report = await asyncio.to_thread(exporter.run, "--format", format, *output)
        assert code == 1
        assert "exists" in report
        cut = whole.index(b"\n", len(whole) // 2) + 20
        exporter.file.write_bytes(whole[:cut])
        assert (await asyncio.to_thread(exporter.run, "--format", format, *output, "--resume"))[0] == 0
        assert exporter.file.read_bytes() == whole
    exporter.file.write_text("no event\n")
    code, _, report = await asyncio.to_thread(exporter.run, *output, "--resume")
    assert code == 1
    assert "is no event of an export" in report
    code, _, report = await asyncio.to_thread(exporter.run, "--from", "999")
    assert code == 1
    assert "there is no index 999" in report


@pytest.mark.slow
async def test_an_export_follows_the_log_until_it_is_ended(exporter: Exporter, pool: Pool, db: Connection) -> None:
    size = await grow(pool, db)
    arguments = ["audit", "export", "--follow", "--stream", "thread_1", "--output", str(exporter.file)]
    command = ForkedCommand(arguments, {**os.environ, **exporter.env})
    try:
        async with asyncio.timeout(WAIT_S):
            while not exporter.file.exists() or len(exporter.lines()) < size:
                await asyncio.sleep(0.02)
            await grow(pool, db)
            while len(exporter.lines()) < size + 5:
                await asyncio.sleep(0.02)
        command.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(command.wait, WAIT_S) == 0
    finally:
        command.send_signal(signal.SIGKILL)
    started, ended = await acts(db)
    assert started["is_following"]
    assert ended["count"] == size + 5


@pytest.mark.slow
async def test_output_that_ends_is_reported(exporter: Exporter, pool: Pool, db: Connection) -> None:
    await grow(pool, db)
    code, _, report = await asyncio.to_thread(exporter.run, "--output", "/dev/full")
    assert code == 1
    assert "Cannot write /dev/full" in report
    assert [act["type"] for act in await acts(db)] == ["export.started", "export.ended"]


async def test_an_export_ends_with_the_log_as_it_was(
    pool: Pool, db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events that are sealed meanwhile are those of the next export, so that an export has an end."""
    monkeypatch.setattr(audit_export, "PAGE", 2)
    size = await grow(pool, db)
    order = ExportOrder(
        format="jsonl",
        wanted=AuditFilter(),
        filters={},
        first_index=0,
        has_contents=False,
        is_following=False,
    )
    origin, found = Origin(INSTALLATION_PROJECT, admin.actor()), list[int]()
    async with open_export(writer(pool), origin, order, ids=IDS) as export:
        async for page in export.pages():
            found += [event.log_index for event in page.events]
            export.add(page)
            if len(found) <= size:
                await grow(pool, db, messages=1)
    assert found == [*range(size)]
    assert export.next_index == size
