"""Bytes that somebody changed in the store are never served: a request fails, and the server's log names the key."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import aiohttp
import orjson
import pytest

from events.actors import CommandLineActor
from events.envelope import Origin
from events.file import CreateFile
from service.database import Pool
from service.storage.folder import FolderBlobs
from service.storage.segments import SEGMENT
from tests.audit.test_verification import verify
from tests.client import Client
from tests.http.files import download, upload
from tests.http.test_uploads import begun, part, two_parts
from tests.projections.helpers import writer

MESSAGE = "The bytes of this file were changed in the server's storage."


@pytest.mark.parametrize("change", ["a byte", "fewer", "more", "another file's"])
async def test_a_changed_file_is_an_error(client: Client, tmp_path: Path, change: str) -> None:
    content = os.urandom(5000)
    file, other = await upload(client, content), await upload(client, os.urandom(5000))
    path = tmp_path / "blobs" / file["id"]
    changed = {
        "a byte": content[:-1] + bytes([content[-1] ^ 1]),
        "fewer": content[:-1],
        "more": content + b"x",
        "another file's": (tmp_path / "blobs" / other["id"]).read_bytes(),
    }
    path.write_bytes(changed[change])
    answer = await client.call("GET", f"/files/{file['id']}/content")
    assert (answer.status, answer.error[1]) == (500, MESSAGE)
    assert (await download(client, other["id"]))[0] == 200
    path.write_bytes(content)
    assert (await download(client, file["id"]))[:2] == (200, content)


@pytest.mark.parametrize("number", [0, 1, 3])
async def test_a_changed_segment(client: Client, tmp_path: Path, database_url: str, number: int) -> None:
    """A changed byte of a segment: the download ends before it, a range in it is an error, and one elsewhere works."""
    size = 3 * SEGMENT + 77
    content = os.urandom(size)
    file = await upload(client, content)
    path, blobs = tmp_path / "blobs" / file["id"], FolderBlobs(tmp_path / "blobs")
    assert await verify(database_url, blobs) == []
    at = min(size - 1, number * SEGMENT + 4711)
    path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])

    status, got = await _received(client, file["id"])
    assert status == (500 if number < 2 else 200)
    if status == 200:
        assert content.startswith(got)
        assert len(got) <= number * SEGMENT
    for place in range(4):
        start, stop = place * SEGMENT, min(size, (place + 1) * SEGMENT)
        answer = await _part(client, file["id"], f"bytes={start + 5}-{stop - 5}")
        if place == number:
            assert (answer[0], orjson.loads(answer[1])["error"]["message"]) == (500, MESSAGE)
        else:
            assert answer[:2] == (206, content[start + 5 : stop - 4])
    [fault] = await verify(database_url, blobs)
    last = min(size, (number + 1) * SEGMENT) - 1
    assert fault == (
        f"{file['id']}: the bytes of the file were changed: {file['id']}, of its 4 segments {number + 1}"
        f" (bytes {number * SEGMENT} to {last})"
    )
    path.write_bytes(content)
    assert (await download(client, file["id"]))[:2] == (200, content)
    assert await verify(database_url, blobs) == []


async def test_a_changed_file_without_segments(client: Client, tmp_path: Path, database_url: str, pool: Pool) -> None:
    """A large file that older software wrote is checked as a whole, also if a part of it is asked for."""
    content = os.urandom(2 * SEGMENT + 1)
    blobs = FolderBlobs(tmp_path / "blobs")
    stored = await blobs.write("file-old", _pieces(content))
    command = CreateFile("a.bin", "user_data", stored.bytes, stored.sha256, "text/plain", None, "file-old")
    await upload(client)
    project_id = await pool.fetchval("SELECT project_id FROM files")
    await writer(pool).file(Origin(project_id, CommandLineActor()), "file-old", command)
    assert (await _part(client, "file-old", "bytes=3-9"))[:2] == (206, content[3:10])
    assert (await download(client, "file-old"))[:2] == (200, content)
    (tmp_path / "blobs" / "file-old").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert (await _part(client, "file-old", "bytes=3-9"))[0] == 500
    status, got = await _received(client, "file-old")
    assert status == 200
    assert len(got) < len(content)
    [fault] = await verify(database_url, blobs)
    assert fault == "file-old: the bytes of the file were changed: file-old"


async def test_a_file_of_parts_has_segments(client: Client, tmp_path: Path, database_url: str) -> None:
    """The segments are those of the file, whatever its parts were."""
    pieces = [os.urandom(SEGMENT + 11), os.urandom(SEGMENT - 3)]
    upload_ = await begun(client, sum(map(len, pieces)))
    ids = [(await part(client, upload_, piece)).body["id"] for piece in pieces]
    blobs = FolderBlobs(tmp_path / "blobs")
    first = tmp_path / "blobs" / ids[0]
    first.write_bytes(pieces[0][:-1] + bytes([pieces[0][-1] ^ 1]))
    [fault] = await verify(database_url, blobs)
    assert fault.endswith(f"{ids[0]}, of its 2 segments 2 (bytes {SEGMENT} to {SEGMENT + 10})")
    first.write_bytes(pieces[0])
    done = await client.post(f"/uploads/{upload_['id']}/complete", {"part_ids": ids})
    file_id, content = done["file"]["id"], b"".join(pieces)
    assert (await download(client, file_id))[:2] == (200, content)
    [path] = [path for path in (tmp_path / "blobs").iterdir() if path.name.startswith(file_id)]
    path.write_bytes(content[: 2 * SEGMENT] + bytes([content[2 * SEGMENT] ^ 1]) + content[2 * SEGMENT + 1 :])
    assert (await _part(client, file_id, f"bytes=0-{2 * SEGMENT - 1}"))[:2] == (206, content[: 2 * SEGMENT])
    assert (await _part(client, file_id, "bytes=-1"))[0] == 500
    [fault] = await verify(database_url, blobs)
    assert ", of its 3 segments 3 " in fault


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def _part(client: Client, file_id: str, range: str) -> tuple[int, bytes]:
    headers = {**client.headers, "Range": range}
    async with client.session.get(f"{client.base_url}/files/{file_id}/content", headers=headers) as response:
        return response.status, await response.read()


async def _received(client: Client, file_id: str) -> tuple[int, bytes]:
    """Returns the status, and the bytes that came before the connection ended."""
    got = b""
    async with client.session.get(f"{client.base_url}/files/{file_id}/content", headers=client.headers) as response:
        with suppress(aiohttp.ClientPayloadError):
            async for piece in response.content.iter_any():
                got += piece
    return response.status, got


async def test_a_changed_part_makes_no_file(client: Client, tmp_path: Path, database_url: str) -> None:
    made, ids = await two_parts(client)
    blobs = FolderBlobs(tmp_path / "blobs")
    assert await verify(database_url, blobs) == []
    path = tmp_path / "blobs" / ids[1]
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"?")
    [fault] = await verify(database_url, blobs)
    assert fault == f"{made['id']} version 3: part {ids[1]}: the bytes of the file were changed: {ids[1]}"
    answer = await client.call("POST", f"/uploads/{made['id']}/complete", {"part_ids": ids})
    assert (answer.status, answer.error[1]) == (500, MESSAGE)
    path.write_bytes(content)
    assert (await client.post(f"/uploads/{made['id']}/complete", {"part_ids": ids}))["status"] == "completed"
    assert await verify(database_url, blobs) == []
