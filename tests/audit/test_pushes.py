"""Kept checkpoints are sent to other places, later if a place cannot be reached."""

from __future__ import annotations

import asyncio
from pathlib import Path

import obstore
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from obstore.store import from_url

from service.audit.notes import Note
from service.audit.pushes import CheckpointPusher, PushError, open_targets
from service.database import Pool
from service.tasks.background import background
from sql.connection import Connection
from tests.audit.logs import ORIGIN, numbered_log
from tests.audit.sealing import fill
from tests.audit.test_checkpoint_signer import Process
from tests.storage.moto import s3

WAIT_S = 60.0
LOG = numbered_log(7)
NOTES = [LOG.checkpoint(size) for size in range(8)]


async def awaited(file: Path, text: str) -> None:
    async with asyncio.timeout(WAIT_S):
        while not file.exists() or file.read_text() != text:
            await asyncio.sleep(0.01)


async def test_a_folder_gets_each_checkpoint_once(tmp_path: Path) -> None:
    pusher = CheckpointPusher(open_targets([str(tmp_path)]))
    async with background(pusher.run()):
        for size in (3, 7):
            pusher.push(ORIGIN, size, NOTES[size])
            await awaited(tmp_path / ORIGIN / f"{size}.checkpoint", str(NOTES[size]))
    await open_targets([str(tmp_path)])[0].send(f"{ORIGIN}/7.checkpoint", "another")
    assert {path.name: path.read_text() for path in (tmp_path / ORIGIN).iterdir()} == {
        "3.checkpoint": str(NOTES[3]),
        "7.checkpoint": str(NOTES[7]),
    }


async def test_a_place_that_cannot_be_reached_gets_the_newest_later(tmp_path: Path) -> None:
    (tmp_path / "vault").touch()
    pusher = CheckpointPusher(open_targets([str(tmp_path / "vault"), str(tmp_path / "other")]), retry_s=0.01)
    async with background(pusher.run()):
        for size in (3, 5):
            pusher.push(ORIGIN, size, NOTES[size])
            await awaited(tmp_path / "other" / ORIGIN / f"{size}.checkpoint", str(NOTES[size]))
        (tmp_path / "vault").unlink()
        await awaited(tmp_path / "vault" / ORIGIN / "5.checkpoint", str(NOTES[5]))
    assert len(list((tmp_path / "vault" / ORIGIN).iterdir())) == 1


async def test_a_webhook_gets_the_note(tmp_path: Path) -> None:
    received, answers = list[str](), [200, 500, 302]

    async def receive(request: web.Request) -> web.Response:
        received.append(await request.text())
        return web.Response(status=answers.pop(0))

    app = web.Application()
    app.router.add_post("/hook", receive)
    async with TestServer(app) as server:
        (target,) = open_targets([str(server.make_url("/hook"))])
        await target.send("name", str(NOTES[7]))
        for status in (500, 302):
            with pytest.raises(PushError, match=f"the webhook answered {status}"):
                await target.send("name", str(NOTES[7]))
    assert Note.parse(received[0]) == NOTES[7]
    with pytest.raises(PushError, match="the webhook cannot be reached"):
        await target.send("name", "text")


@pytest.mark.slow
async def test_an_object_store_gets_objects_that_are_never_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    async with s3(monkeypatch) as url:
        (target,) = open_targets([url])
        for note in (NOTES[7], NOTES[3]):
            await target.send(f"{ORIGIN}/7.checkpoint", str(note))
        store = from_url(url, client_options={"allow_http": True})
        found = await obstore.get_async(store, f"{ORIGIN}/7.checkpoint")
        assert bytes(await found.bytes_async()).decode() == str(NOTES[7])
    with pytest.raises(PushError, match="the object store refused it"):
        await open_targets([url.replace("bucket", "missing")])[0].send("name", "text")


def test_a_url_that_cannot_be_used_is_refused() -> None:
    with pytest.raises(ValueError, match="an object store cannot be used"):
        open_targets(["gs://"])


async def test_the_signer_pushes_the_checkpoints_that_it_keeps(pool: Pool, db: Connection, tmp_path: Path) -> None:
    process = Process(pool, tmp_path, push_to=[str(tmp_path / "vault")])
    await fill(db, 10)
    async with background(process.pusher.run()):
        await process.scan()
        origin = await db.fetchval("SELECT origin FROM log_epochs")
        note = await db.fetchval("SELECT note FROM log_latest")
        await awaited(tmp_path / "vault" / origin / "10.checkpoint", note)
