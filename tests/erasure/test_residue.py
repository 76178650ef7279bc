"""After a deletion, no text of the object is left: not in a dump, in the files of Postgres, or in any other file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from service.audit.verification import Scope, verify_installation
from service.database import connect
from service.erasure import eraser
from service.erasure.forget_list import ForgetList
from service.replay.encryption_sweep import count_plain_rows
from sql.connection import Connection
from tests.client import Client
from tests.clock import WallClock
from tests.erasure.residue import files_with, has_residue, tables_with
from tests.fake_search_engine import FakeSearchEngine
from tests.fixtures.postgres import empty_database
from tests.fixtures.server import serving
from tests.http.files import upload
from tests.http.helpers import assistant_with
from tests.scripted import ScriptedServer, says

CANARY = "Pelargonium-55091-quux"


@pytest.fixture
async def url(postgres: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """A database without migrations; the keys are those of the data directory."""
    monkeypatch.delenv("EVERTHREAD_KEY", raising=False)
    monkeypatch.setattr(eraser, "SCAN_EVERY_S", 0.1)
    async with empty_database(postgres) as made:
        yield made


async def wait_until_erased(db: Connection, *stream_ids: str) -> None:
    async with asyncio.timeout(30):
        while await db.fetchval(
            "SELECT count(*) FROM erasures WHERE stream_id = ANY ($1) AND erased_at IS NOT NULL", list(stream_ids)
        ) < len(stream_ids):
            await asyncio.sleep(0.05)


def folder_of_postgres(url: str) -> Path:
    """Returns the folder of the tests' Postgres, with its data, its WAL and its log."""
    folder = Path(URL(url).query["host"]).parent
    assert (folder / "pg_wal").is_dir()
    return folder


def changes_of_thread() -> dict[str, Any]:
    return {"metadata": {"plant": f"{CANARY} again"}}


async def make_objects(client: Client, model: ScriptedServer) -> dict[str, str]:
    """Makes a thread with a run, a file and an assistant with the canary. Returns their ids."""
    model.script(says(f"{CANARY} is a flower."))
    assistant = await assistant_with(client, instructions=CANARY, metadata={"plant": CANARY})
    thread = {"messages": [{"role": "user", "content": CANARY}], "metadata": {"plant": CANARY}}
    request = {"assistant_id": assistant["id"], "thread": thread}
    run = (await client.call("POST", "/threads/runs", request, headers={"Idempotency-Key": "run"})).body
    await client.settled(run)
    thread_id = run["thread_id"]
    await client.call("POST", f"/threads/{thread_id}", changes_of_thread(), headers={"Idempotency-Key": "modify"})
    file = await upload(client, filename=f'filename="{CANARY}.txt"')
    return {"thread": thread_id, "assistant": assistant["id"], "file": file["id"], "run": run["id"]}


async def faults_of(url: str) -> tuple[list[str], int]:
    progress = await verify_installation(url, None, Scope(), lambda _: None)
    return [str(fault) for fault in progress.faults], progress.erased


@pytest.mark.slow
async def test_nothing_is_left_of_deleted_objects(url: str, model: ScriptedServer, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"search_engine": FakeSearchEngine(), "clock": WallClock(), "encryption": "on"}
    db = await connect(url)
    async with serving(url, model, tmp_path, **settings) as client:
        made = await make_objects(client, model)
        thread = f"/threads/{made['thread']}"
        before = await client.get(f"{thread}/messages")
        assert has_residue(str(before).encode(), CANARY)
        for path in (thread, f"/assistants/{made['assistant']}", f"/files/{made['file']}"):
            await client.call("DELETE", path)
        erased = [made["thread"], made["assistant"], made["file"]]
        await wait_until_erased(db, *erased)
        keys = await db.fetchval("SELECT count(*) FROM stream_keys WHERE stream_id = ANY ($1)", erased)
        assert keys == 0
        # A repeated request does not bring the object back.
        again = await client.call("POST", thread, changes_of_thread(), headers={"Idempotency-Key": "modify"})
        assert again.error[:2] == (404, f"No thread found with id '{made['thread']}'.")
        assert await count_plain_rows(db) == 0
        # The past is erased too, and says so.
        for path in (thread, f"{thread}/messages", f"{thread}/runs/{made['run']}"):
            answer = await client.call("GET", path, at="3")
            assert (answer.status, answer.error[3]) == (404, "erased")
        # Nothing is found in a dump, and the log verifies.
        await db.execute("VACUUM")
        assert await tables_with(db, CANARY) == set()
        assert await faults_of(url) == ([], 3)
        assert {*ForgetList(tmp_path / "audit").load().values()} == set(erased)
        await db.execute("CHECKPOINT")
        await db.execute("SELECT pg_switch_wal()")
        assert files_with([tmp_path, folder_of_postgres(url)], CANARY) == set()
    await db.close()
