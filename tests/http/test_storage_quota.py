"""The quota of stored bytes of a project: files, parts of uploads, and files that code makes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.access.storage_quota import StorageQuota
from service.database import Pool
from service.sandbox.base import FileRefused
from service.storage.folder import FolderBlobs
from service.tool_adapters.code_files import CodeFiles
from service.tools.base import HostedRun
from tests.client import Client
from tests.clock import IDS
from tests.conftest import StartServer
from tests.http.files import blobs_in, form, send, upload
from tests.projections.helpers import writer

MIB = 1024**2
HALF = b"x" * (MIB * 6 // 10)
CODE = "storage_quota_exceeded"
PENDING = {"filename": "a.txt", "purpose": "assistants", "mime_type": "text/plain"}


async def refusal(client: Client, content: bytes) -> tuple[int, str | None]:
    answer = await send(client, form(content))
    return answer.status, answer.error[3]


async def test_uploads_beyond_the_quota_are_refused_also_after_a_restart(start_server: StartServer) -> None:
    async with start_server(storage_quota_mb=1) as client:
        first = await upload(client, HALF)
        assert await refusal(client, HALF) == (400, CODE)
    async with start_server(storage_quota_mb=1) as client:
        assert await refusal(client, HALF) == (400, CODE)
        assert [file["id"] for file in (await client.get("/files"))["data"]] == [first["id"]]
        await client.delete(f"/files/{first['id']}")
        await upload(client, HALF)
    async with start_server() as client:
        await upload(client, HALF)


async def test_refused_bytes_are_not_kept(start_server: StartServer, tmp_path: Path) -> None:
    async with start_server(storage_quota_mb=1) as client:
        await upload(client, HALF)
        await refusal(client, HALF)
    assert len(blobs_in(tmp_path)) == 1


async def test_uploads_at_once_exceed_the_quota_by_one_each_at_most(start_server: StartServer) -> None:
    async with start_server(storage_quota_mb=1) as client:
        answers = await asyncio.gather(*(send(client, form(HALF)) for _ in range(4)))
        kept = sum(answer.status == 200 for answer in answers)
        assert 1 <= kept <= 4
        assert {answer.error[3] for answer in answers if answer.status != 200} <= {CODE}
        assert await refusal(client, HALF) == (400, CODE)


async def test_parts_of_pending_uploads_count(start_server: StartServer) -> None:
    async with start_server(storage_quota_mb=1) as client:
        too_large = await client.call("POST", "/uploads", {**PENDING, "bytes": 2 * MIB})
        assert too_large.error[0::3] == (400, CODE)
        made = await client.post("/uploads", {**PENDING, "bytes": len(HALF)})
        path = f"/uploads/{made['id']}"
        assert (await send(client, form(HALF, (), name="data"), f"{path}/parts")).status == 200
        assert await refusal(client, HALF) == (400, CODE)
        assert (await send(client, form(HALF, (), name="data"), f"{path}/parts")).error[3] == CODE
        await client.post(f"{path}/cancel")
        await upload(client, HALF)


async def test_files_of_code_count(pool: Pool, tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)
    files = CodeFiles(writer(pool), blobs, quota=StorageQuota(pool, MIB), ids=IDS)
    run = HostedRun(
        project_id="proj_default",
        thread_id="thread_1",
        run_id="run_1",
        model="m",
        window=1000,
        settings={},
        run_resources={},
        thread_resources={},
    )

    async def content() -> AsyncIterator[bytes]:
        yield HALF

    await files.keep(run, "call_1", "a.txt", content())
    with pytest.raises(FileRefused, match="storage quota"):
        await files.keep(run, "call_2", "b.txt", content())
    assert len(list(tmp_path.iterdir())) == 1
