"""The quota of stored bytes of a project: files, parts of uploads, and files that code makes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from service.access.storage_quota import StorageQuota
from service.database import Pool
from service.sandbox.base import FileRefused
from service.storage.folder import FolderBlobs
from service.tool_adapters.code_files import CodeFiles
from service.tools.base import HostedRun
from tests.client import V1, Client
from tests.clock import IDS
from tests.conftest import StartServer
from tests.fake_search_engine import FakeSearchEngine
from tests.http.files import blobs_in, form, send, upload
from tests.http.stores import settled
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


async def test_files_are_not_attached_beyond_the_quota(start_server: StartServer) -> None:
    """The text and the vectors of a file count in each vector store that holds it."""
    async with start_server(storage_quota_mb=1) as client:
        file = (await upload(client, HALF, filename='filename="a.txt"'))["id"]
        store = await indexed(client, file)
        empty, thread = await client.post("/vector_stores", {}), await client.post("/threads")
        store_of = {"vector_stores": [{"file_ids": [file]}]}
        attachment = {"file_id": file, "tools": [{"type": "file_search"}]}
        message = {"role": "user", "content": "Hi", "attachments": [attachment]}
        attaching = (
            ("/vector_stores", {"file_ids": [file]}),
            (f"/vector_stores/{empty['id']}/files", {"file_id": file}),
            (f"/vector_stores/{empty['id']}/file_batches", {"file_ids": [file]}),
            ("/threads", {"tool_resources": {"file_search": store_of}}),
            ("/threads", {"messages": [message]}),
            (f"/threads/{thread['id']}/messages", message),
            ("/assistants", {"model": "gpt-test", "tool_resources": {"file_search": store_of}}),
        )
        for path, body in attaching:
            assert (await client.call("POST", path, body)).error[0::3] == (400, CODE), path
        retrieval = {"model": "gpt-test", "tools": [{"type": "retrieval"}], "file_ids": [file]}
        assert (await client.call("POST", "/assistants", retrieval, headers={"OpenAI-Beta": V1})).error[0::3] == (
            400,
            CODE,
        )
        await client.post("/vector_stores", {})
        await client.delete(f"/vector_stores/{store['id']}")
        await indexed(client, file)


async def test_files_that_wait_when_the_quota_is_used_up_fail(
    start_server: StartServer, search_engine: FakeSearchEngine
) -> None:
    async with start_server(storage_quota_mb=1, indexing_jobs=1) as client:
        file = (await upload(client, HALF, filename='filename="slow.txt"'))["id"]
        stores = [await client.post("/vector_stores", {"file_ids": [file]}) for _ in range(4)]
        search_engine.release()
        found = [await settled(client, store["id"]) for store in stores]
        counts = sorted((store["file_counts"]["completed"], store["file_counts"]["failed"]) for store in found)
        assert counts == [(0, 1), (0, 1), (0, 1), (1, 0)]
        failed = next(store["id"] for store in found if store["file_counts"]["failed"])
        error = (await client.get(f"/vector_stores/{failed}/files/{file}"))["last_error"]
        assert error["code"] == "server_error"
        assert "storage quota" in error["message"]


async def indexed(client: Client, file: str) -> Any:
    """Creates a vector store with the file, and returns it when the file is completed."""
    store = await settled(client, (await client.post("/vector_stores", {"file_ids": [file]}))["id"])
    assert store["file_counts"]["completed"] == 1
    return store
