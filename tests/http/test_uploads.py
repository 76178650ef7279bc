"""Uploads over HTTP: parts, in any order and at once, become a file."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from events import upload as rules
from events.event import Origin, now
from events.file import CreateFile
from events.ids import file_id_of
from service.database import Pool
from service.http import uploads as handlers
from service.storage.folder import FolderBlobs
from service.sweep import Sweep
from tests.client import Answer, Client
from tests.http.files import blobs_in, download, form, send
from tests.projections.helpers import writer


async def begun(client: Client, size: int, **more: Any) -> Any:
    body = {"filename": "a.jsonl", "purpose": "batch", "bytes": size, "mime_type": "text/jsonl", **more}
    return await client.post("/uploads", body)


async def part(client: Client, upload: Any, content: bytes) -> Answer:
    return await send(client, form(content, (), name="data"), f"/uploads/{upload['id']}/parts")


async def test_parts_become_a_file_in_the_order_given(client: Client, tmp_path: Path) -> None:
    pieces = [os.urandom(2_000_000) for _ in range(3)]
    content = b"".join(pieces)
    upload = await begun(client, len(content), expires_after={"anchor": "created_at", "seconds": 7200})
    assert upload["expires_at"] == upload["created_at"] + 3600
    assert "file" not in upload
    added = await asyncio.gather(*(part(client, upload, piece) for piece in reversed(pieces)))
    ids = [answer.body["id"] for answer in added][::-1]
    path = f"/uploads/{upload['id']}/complete"
    done = await client.post(path, {"part_ids": ids, "md5": hashlib.md5(content).hexdigest().upper()})
    assert (done["status"], done["file"]["bytes"]) == ("completed", len(content))
    assert done["file"]["expires_at"] == done["file"]["created_at"] + 7200
    status, got, headers = await download(client, done["file"]["id"])
    assert (status, got, headers["Content-Type"]) == (200, content, "text/jsonl")
    assert len(blobs_in(tmp_path)) == 1, "the parts are gone"
    for again in (path, path.replace("complete", "cancel")):
        answer = await client.call("POST", again, {"part_ids": ids} if again == path else None)
        assert answer.error[0] == 400
        assert "is completed" in answer.error[1]
    assert "is completed" in (await part(client, upload, b"more")).error[1]


async def test_what_does_not_fit_is_refused_and_can_be_put_right(client: Client, tmp_path: Path) -> None:
    upload = await begun(client, 8)
    first, second = [(await part(client, upload, piece)).body["id"] for piece in (b"abcd", b"efgh")]
    path = f"/uploads/{upload['id']}/complete"
    for body, message in (
        ({"part_ids": [first]}, "4 bytes in total"),
        ({"part_ids": [first, first]}, "more than once"),
        ({"part_ids": [first, "part_none"]}, "no part 'part_none'"),
        ({"part_ids": [first, second], "md5": "0" * 32}, "md5"),
        ({"part_ids": [first, second], "md5": "nonsense"}, "md5"),
        ({}, "Missing required parameter: 'part_ids'"),
    ):
        answer = await client.call("POST", path, body)
        assert answer.status == 400
        assert message in answer.error[1]
    assert len(blobs_in(tmp_path)) == 2
    assert (await client.post(path, {"part_ids": [second, first]}))["status"] == "completed"


async def test_cancelled(client: Client, tmp_path: Path) -> None:
    upload = await begun(client, 8)
    await part(client, upload, b"abcd")
    assert (await client.post(f"/uploads/{upload['id']}/cancel"))["status"] == "cancelled"
    assert blobs_in(tmp_path) == []
    assert "is cancelled" in (await part(client, upload, b"efgh")).error[1]
    assert blobs_in(tmp_path) == []


async def test_limits(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "MAX_PART", 1024**2)
    upload = await begun(client, rules.MAX_BYTES)
    assert (await part(client, upload, b"x" * (1024**2 + 1))).error[0] == 413
    assert (await part(client, upload, b"")).error[0] == 400
    assert blobs_in(tmp_path) == []
    for body in ({"bytes": rules.MAX_BYTES + 1}, {"bytes": 0}, {"purpose": "assistants_output"}, {"filename": ""}):
        whole = {"filename": "a", "purpose": "batch", "bytes": 8, "mime_type": "text/plain", **body}
        assert (await client.call("POST", "/uploads", whole)).error[0] == 400
    missing = await client.call("POST", "/uploads/upload_none/complete", {"part_ids": []})
    assert missing.error == (404, "No upload found with id 'upload_none'.", None, None)


async def test_an_upload_expires_after_an_hour(
    client: Client, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = await begun(client, 8)
    await part(client, upload, b"abcd")
    await pool.execute("UPDATE uploads SET expires_at = 0")
    later = now().replace(year=now().year + 1)
    monkeypatch.setattr("service.write.now", lambda: later)
    await Sweep(writer(pool), FolderBlobs(tmp_path / "blobs")).expire(now())
    assert blobs_in(tmp_path) == []
    refused = await client.call("POST", f"/uploads/{upload['id']}/complete", {"part_ids": []})
    assert "is expired" in refused.error[1]


async def test_a_crash_between_file_and_completion_is_no_end(client: Client, pool: Pool, tmp_path: Path) -> None:
    """The file was made, the process died before the upload said so: completing again says so, with that file."""
    upload = await begun(client, 4)
    made = (await part(client, upload, b"abcd")).body["id"]
    sha256 = hashlib.sha256(b"abcd").hexdigest()
    file_id = file_id_of(upload["id"])
    (tmp_path / "blobs" / f"{file_id}-0").write_bytes(b"abcd")
    origin = Origin((await pool.fetchval("SELECT project_id FROM uploads")), "test")
    command = CreateFile("a.jsonl", "batch", 4, sha256, "text/jsonl", None, f"{file_id}-0")
    await writer(pool).file(origin, file_id, command)
    done = await client.post(f"/uploads/{upload['id']}/complete", {"part_ids": [made]})
    assert done["file"]["id"] == file_id
    assert blobs_in(tmp_path) == [f"{file_id}-0"]
