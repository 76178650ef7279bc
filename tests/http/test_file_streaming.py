"""Bytes of files in transit: limits, memory, clients that leave, remains of crashes, an object store."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from service.database import Pool
from service.files.blob_marker import MARKER
from service.files.sweep import GRACE, Sweep
from service.http import files as handlers
from service.http import forms
from service.storage.base import StoredBlob
from service.storage.folder import FolderBlobs
from service.storage.objects import ObjectBlobs
from tests.client import Client
from tests.clock import CLOCK, WallClock
from tests.http.files import BOUNDARY, END, blobs_in, field, file_head, form, send, upload
from tests.http.files import download as downloaded
from tests.projections.helpers import writer
from tests.storage.moto import s3


@pytest.mark.slow
async def test_the_limit_holds_while_streaming(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "MAX_FILE", 1024**2)
    assert (await send(client, form(b"x" * 1024**2))).status == 200
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield field("purpose", "assistants") + file_head()
        for _ in range(40):
            sent += 1
            yield b"x" * 65536

    answer = await send(client, endless())
    assert answer.error == (413, "The file is larger than the limit of 1 MB.", None, "file_too_large")
    announced = await send(client, form(b"x" * (3 * 1024**2)))
    assert announced.error[0] == 413
    assert len(blobs_in(tmp_path)) == 1


async def test_a_client_that_stalls_is_told(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "PIECE_TIMEOUT", 0.1)
    answered = asyncio.Event()

    async def stalls() -> AsyncIterator[bytes]:
        yield field("purpose", "assistants") + file_head() + b"x"
        await answered.wait()

    async with asyncio.timeout(60):
        answer = await send(client, stalls())
    assert answer.error[0] == 408
    assert blobs_in(tmp_path) == []


async def test_a_file_whose_bytes_are_lost_is_not_called_missing(client: Client, tmp_path: Path) -> None:
    lost = await upload(client)
    (tmp_path / "blobs" / lost["id"]).unlink()
    answer = await client.call("GET", f"/files/{lost['id']}/content")
    assert answer.error[:2] == (503, "The bytes of this file are missing in the server's storage.")
    assert answer.headers["Retry-After"]
    assert (await client.get(f"/files/{lost['id']}"))["id"] == lost["id"]
    await client.delete(f"/files/{lost['id']}")
    assert (await client.call("GET", f"/files/{lost['id']}/content")).error[0] == 404


async def test_a_download_that_meets_a_deletion_is_a_404(
    client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The file is deleted after the request has found it and before it reads the bytes."""
    file, read = await upload(client), FolderBlobs.read

    async def read_after_deletion(blobs: FolderBlobs, key: str, start: int, stop: int | None) -> AsyncIterator[bytes]:
        await client.delete(f"/files/{file['id']}")
        async for piece in read(blobs, key, start, stop):
            yield piece

    monkeypatch.setattr(FolderBlobs, "read", read_after_deletion)
    assert (await client.call("GET", f"/files/{file['id']}/content")).error[0] == 404


async def test_the_sweep_expires_and_removes_what_nobody_owns(
    client: Client, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash between the bytes and the event leaves bytes without a file, and never a file without bytes."""
    fields = [("purpose", "assistants"), ("expires_after[anchor]", "created_at"), ("expires_after[seconds]", "3600")]
    expiring, kept = (await send(client, form(fields=fields))).body, await upload(client)
    folder = FolderBlobs(tmp_path / "blobs")

    async def bytes_() -> AsyncIterator[bytes]:
        yield b"left by a crash"

    await folder.write("file-orphan", bytes_())
    (tmp_path / "blobs" / "file-half.unfinished").write_bytes(b"half")
    sweep = Sweep(writer(pool), folder)
    await sweep.remove_unowned(CLOCK.now() - GRACE)
    assert len(blobs_in(tmp_path)) == 4, "what is young may be a request's that goes on"
    await sweep.remove_unowned(CLOCK.now() + timedelta(seconds=2))
    assert blobs_in(tmp_path) == sorted([expiring["id"], kept["id"]])
    await sweep.expire(CLOCK.now())
    assert len(blobs_in(tmp_path)) == 2
    await pool.execute("UPDATE files SET expires_at = 0 WHERE file_id = $1", expiring["id"])
    sweep = Sweep(writer(pool, WallClock(timedelta(hours=1))), folder)
    await sweep.expire(CLOCK.now())
    assert blobs_in(tmp_path) == [kept["id"]]
    types = await pool.fetch("SELECT type FROM events WHERE stream_id = $1 ORDER BY version", expiring["id"])
    assert [row["type"] for row in types] == ["file.created", "file.expired"]


@pytest.mark.slow
async def test_memory_stays_flat(client: Client) -> None:
    """Sends 128 MB in and out, with client and server in this one process."""
    here, size = psutil.Process(), 128 * 1024**2
    await upload(client, b"x" * 1024**2)
    peak = before = here.memory_info().rss

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal peak
        yield field("purpose", "user_data") + file_head()
        piece = os.urandom(1024**2)
        for _ in range(size // len(piece)):
            yield piece
            peak = max(peak, here.memory_info().rss)
        yield END

    made = (await send(client, pieces())).body
    assert made["bytes"] == size
    got = 0
    async with client.session.get(f"{client.base_url}/files/{made['id']}/content", headers=client.headers) as response:
        async for chunk in response.content.iter_any():
            got += len(chunk)
            peak = max(peak, here.memory_info().rss)
    assert got == size
    assert peak - before < 24 * 1024**2


async def test_a_client_that_leaves_in_mid_upload_leaves_nothing(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, ended = asyncio.Event(), asyncio.Event()
    write = FolderBlobs.write

    async def watched(self: FolderBlobs, key: str, chunks: AsyncIterator[bytes]) -> StoredBlob:
        began.set()
        try:
            return await write(self, key, chunks)
        finally:
            ended.set()

    monkeypatch.setattr(FolderBlobs, "write", watched)
    where = urlsplit(client.base_url)
    reader, writing = await asyncio.open_connection(where.hostname, where.port)
    head = (
        f"POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: {client.headers['Authorization']}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: 1000000\r\n\r\n"
    )
    writing.write(head.encode() + field("purpose", "batch") + file_head() + b"x" * 300_000)
    await writing.drain()
    async with asyncio.timeout(60):
        await began.wait()
        writing.transport.abort()
        await ended.wait()
    assert blobs_in(tmp_path) == []
    assert (await client.get("/files"))["data"] == []
    assert reader.at_eof() or reader.exception() is not None


@pytest.mark.slow
async def test_files_in_an_object_store(start_server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async with s3(monkeypatch) as url, start_server(blobs=url) as client:
        content = os.urandom(20 * 1024**2)
        made = await upload(client, content)
        status, got, _ = await downloaded(client, made["id"])
        assert (status, got) == (200, content)
        await client.delete(f"/files/{made['id']}")
        assert [page async for page in ObjectBlobs(url).list_older(CLOCK.now() + timedelta(hours=1))] == [[MARKER]]
    assert not (tmp_path / "blobs").exists()
