"""Uploads over HTTP: parts that arrive in any order, or at the same time, become a file."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any

import pytest

from events import upload as rules
from events.actors import CommandLineActor
from events.envelope import Origin
from events.file import CreateFile
from events.ids import file_id_of
from service.database import Pool
from service.files.sweep import Sweep
from service.http import uploads as handlers
from service.storage.base import StorageError
from service.storage.folder import FolderBlobs
from tests.client import Answer, Client
from tests.clock import CLOCK, WallClock
from tests.http.files import blobs_in, download, form, send
from tests.projections.helpers import writer

# More seconds than an upload lives.
A_LONG_TIME = 366 * 86_400


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
    for again, body in ((path, {"part_ids": ids[::-1]}), (path.replace("complete", "cancel"), None)):
        answer = await client.call("POST", again, body)
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
    small = await begun(client, 5)
    message = f"The part is larger than the 5 bytes that upload {small['id']} was created for."
    assert (await part(client, small, b"more than five")).error == (413, message, None, "file_too_large")
    assert (await part(client, upload, b"")).error[0] == 400
    assert blobs_in(tmp_path) == []
    for body in ({"bytes": rules.MAX_BYTES + 1}, {"bytes": 0}, {"purpose": "assistants_output"}, {"filename": ""}):
        whole = {"filename": "a", "purpose": "batch", "bytes": 8, "mime_type": "text/plain", **body}
        assert (await client.call("POST", "/uploads", whole)).error[0] == 400
    missing = await client.call("POST", "/uploads/upload_none/complete", {"part_ids": []})
    assert missing.error == (404, "No upload found with id 'upload_none'.", None, None)


async def test_an_upload_expires_after_an_hour(client: Client, pool: Pool, tmp_path: Path, wall: WallClock) -> None:
    upload = await begun(client, 8)
    await part(client, upload, b"abcd")
    await pool.execute("UPDATE uploads SET expires_at = 0")
    wall.skip(A_LONG_TIME)
    await Sweep(writer(pool, wall), FolderBlobs(tmp_path / "blobs")).expire(CLOCK.now())
    assert blobs_in(tmp_path) == []
    refused = await client.call("POST", f"/uploads/{upload['id']}/complete", {"part_ids": []})
    assert "is expired" in refused.error[1]


async def half_completed(client: Client, pool: Pool, tmp_path: Path) -> tuple[Any, str]:
    """A process made the upload's file and died before it could answer; the file has the id of the upload's part."""
    upload = await begun(client, 4)
    made = (await part(client, upload, b"abcd")).body["id"]
    await left_behind(upload, pool, tmp_path)
    return upload, made


async def left_behind(upload: Any, pool: Pool, tmp_path: Path) -> None:
    sha256 = hashlib.sha256(b"abcd").hexdigest()
    file_id = file_id_of(upload["id"])
    (tmp_path / "blobs" / f"{file_id}-0").write_bytes(b"abcd")
    origin = Origin((await pool.fetchval("SELECT project_id FROM uploads")), CommandLineActor())
    command = CreateFile("a.jsonl", "batch", 4, sha256, "text/jsonl", None, f"{file_id}-0")
    await writer(pool).file(origin, file_id, command)


async def test_a_crash_between_file_and_completion_is_no_end(client: Client, pool: Pool, tmp_path: Path) -> None:
    upload, made = await half_completed(client, pool, tmp_path)
    file_id = file_id_of(upload["id"])
    done = await client.post(f"/uploads/{upload['id']}/complete", {"part_ids": [made]})
    assert done["file"]["id"] == file_id
    assert blobs_in(tmp_path) == [f"{file_id}-0"]


async def test_nobody_is_left_a_file_of_an_upload_that_ended_otherwise(
    client: Client, pool: Pool, tmp_path: Path, wall: WallClock
) -> None:
    """The process that completed the upload died. Then the upload is cancelled, or no client returns to it."""
    cancelled, _ = await half_completed(client, pool, tmp_path)
    assert len((await client.get("/files"))["data"]) == 1
    await client.post(f"/uploads/{cancelled['id']}/cancel")
    assert (await client.get("/files"))["data"] == []
    await half_completed(client, pool, tmp_path)
    await pool.execute("UPDATE uploads SET expires_at = 0")
    wall.skip(A_LONG_TIME)
    sweep = Sweep(writer(pool, wall), FolderBlobs(tmp_path / "blobs"))
    await sweep.expire(CLOCK.now())
    assert (await client.get("/files"))["data"] == []
    assert blobs_in(tmp_path) == []


async def test_the_sweep_finds_the_file_that_two_crashes_left(client: Client, pool: Pool, tmp_path: Path) -> None:
    """The process that completed the upload died, and so did the one that cancelled it, before it deleted the file."""
    upload, done = await begun(client, 4), await begun(client, 4)
    made = (await part(client, done, b"abcd")).body["id"]
    kept = (await client.post(f"/uploads/{done['id']}/complete", {"part_ids": [made]}))["file"]
    await client.post(f"/uploads/{upload['id']}/cancel")
    await left_behind(upload, pool, tmp_path)
    assert len((await client.get("/files"))["data"]) == 2
    await Sweep(writer(pool), FolderBlobs(tmp_path / "blobs")).remove_unannounced()
    assert (await client.get("/files"))["data"] == [kept]
    assert len(blobs_in(tmp_path)) == 1


class Held:
    """Reads of bytes that wait, from the second on, until the test releases them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.go, self.reads = asyncio.Event(), asyncio.Event(), 0
        held, read = self, FolderBlobs.read

        async def waits(self: FolderBlobs, key: str, start: int, stop: int | None) -> AsyncIterator[bytes]:
            held.reads += 1
            if held.reads == 2:
                held.reached.set()
                await held.go.wait()
            async for piece in read(self, key, start, stop):
                yield piece

        monkeypatch.setattr(FolderBlobs, "read", waits)


async def two_parts(client: Client) -> tuple[Any, list[str]]:
    upload = await begun(client, 8)
    return upload, [(await part(client, upload, piece)).body["id"] for piece in (b"abcd", b"efgh")]


async def test_cancelled_while_it_is_completed(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upload, ids = await two_parts(client)
    held = Held(monkeypatch)
    completing = asyncio.create_task(client.call("POST", f"/uploads/{upload['id']}/complete", {"part_ids": ids}))
    await held.reached.wait()
    await client.post(f"/uploads/{upload['id']}/cancel")
    held.go.set()
    answer = await completing
    assert answer.error[0] == 400
    assert f"Upload {upload['id']} is cancelled" in answer.error[1]
    assert blobs_in(tmp_path) == []
    assert (await client.get("/files"))["data"] == []


@pytest.mark.parametrize("same", [True, False])
async def test_completed_by_another_meanwhile(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same: bool
) -> None:
    """The slower of two requests gets the result of the faster one, for the same order of parts or another."""
    upload, ids = await two_parts(client)
    path = f"/uploads/{upload['id']}/complete"
    held = Held(monkeypatch)
    slower = asyncio.create_task(client.call("POST", path, {"part_ids": ids if same else ids[::-1]}))
    await held.reached.wait()
    faster = await client.post(path, {"part_ids": ids})
    held.go.set()
    answer = await slower
    if same:
        assert (answer.status, answer.body) == (200, faster)
    else:
        assert (answer.status, "is completed" in answer.error[1]) == (400, True)
    assert len(blobs_in(tmp_path)) == len((await client.get("/files"))["data"]) == 1


async def test_no_two_files_of_one_upload(client: Client, pool: Pool, tmp_path: Path) -> None:
    """The file was made of other bytes by a request that has not answered yet."""
    upload = await begun(client, 4)
    made = (await part(client, upload, b"dcba")).body["id"]
    await left_behind(upload, pool, tmp_path)
    answer = await client.call("POST", f"/uploads/{upload['id']}/complete", {"part_ids": [made]})
    message = "is being completed by another request, with other parts or in another order."
    assert answer.error[:2] == (400, f"Upload {upload['id']} {message}")


async def test_completing_again_answers_again(client: Client, tmp_path: Path) -> None:
    """SDKs retry if an answer is lost or arrives too late."""
    upload, ids = await two_parts(client)
    path = f"/uploads/{upload['id']}/complete"
    md5 = hashlib.md5(b"abcdefgh").hexdigest()
    first, *others = await asyncio.gather(*(client.post(path, {"part_ids": ids, "md5": md5}) for _ in range(4)))
    assert (first["status"], first["file"]["bytes"]) == ("completed", 8)
    assert others == [first] * 3
    assert await client.post(path, {"part_ids": ids}) == first
    for body in ({"part_ids": ids[::-1]}, {"part_ids": ids[:1]}, {"part_ids": ids, "md5": "0" * 32}):
        answer = await client.call("POST", path, body)
        assert answer.error[0] == 400
        assert "is completed" in answer.error[1]
    assert len(blobs_in(tmp_path)) == 1


async def test_bytes_that_cannot_be_deleted_undo_nothing(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload, ids = await two_parts(client)
    other, _ = await two_parts(client)

    async def fails(self: FolderBlobs, keys: Collection[str]) -> None:
        raise StorageError("the store hiccups")

    monkeypatch.setattr(FolderBlobs, "delete", fails)
    done = await client.post(f"/uploads/{upload['id']}/complete", {"part_ids": ids})
    assert done["file"]["bytes"] == 8
    assert (await client.post(f"/uploads/{other['id']}/cancel"))["status"] == "cancelled"
    assert (await part(client, await begun(client, 1), b"xx")).status == 413
    assert len(blobs_in(tmp_path)) >= 5


async def test_a_part_whose_bytes_are_lost(client: Client, tmp_path: Path) -> None:
    upload, ids = await two_parts(client)
    (tmp_path / "blobs" / ids[1]).unlink()
    answer = await client.call("POST", f"/uploads/{upload['id']}/complete", {"part_ids": ids})
    assert answer.error[:2] == (503, "The bytes of this file are missing in the server's storage.")
    assert blobs_in(tmp_path) == ids[:1]
    assert (await client.get("/files"))["data"] == []


@pytest.mark.parametrize(
    ("given", "kept"), [("../../x", "x"), ("C:\\\\a\\\\b.txt", "b.txt"), ("a\r\nX-Evil: 1", "a\r\nX-Evil: 1")]
)
async def test_names_and_types_are_those_of_files(client: Client, given: str, kept: str) -> None:
    """A type that ends a header made the content a permanent 500, and a name with folders came back as it was."""
    upload = await begun(client, 4, filename=given, mime_type="text/plain\r\nX-Evil: 1")
    assert upload["filename"] == kept
    part_id = (await part(client, upload, b"text")).body["id"]
    done = await client.post(f"/uploads/{upload['id']}/complete", {"part_ids": [part_id]})
    status, content, headers = await download(client, done["file"]["id"])
    assert (status, content, headers["Content-Type"]) == (200, b"text", "application/octet-stream")
    assert "X-Evil" not in headers
    assert ".." not in headers["Content-Disposition"]


@pytest.mark.parametrize("filename", ["/", "..", "a/..", "\x00"])
async def test_a_name_that_is_none_is_refused(client: Client, filename: str) -> None:
    body = {"filename": filename, "purpose": "batch", "bytes": 4, "mime_type": "text/plain"}
    assert (await client.call("POST", "/uploads", body)).error[::2] == (400, "filename")


async def test_a_stored_upload_of_an_older_release_can_be_downloaded(client: Client, pool: Pool) -> None:
    file = (await send(client, form(b"text", (("purpose", "assistants"),)))).body
    await pool.execute(
        "UPDATE files SET body = convert_to((convert_from(body, 'UTF8')::jsonb || $2::jsonb)::text, 'UTF8')"
        " WHERE file_id = $1",
        file["id"],
        '{"filename": "../../x", "content_type": "text/plain\\r\\nX-Evil: 1"}',
    )
    status, content, headers = await download(client, file["id"])
    assert (status, content) == (200, b"text")
    assert "../" not in headers["Content-Disposition"]
