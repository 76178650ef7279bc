"""Bytes that somebody changed in the store are never served: a request fails, and the server's log names the key."""

from __future__ import annotations

import os
from pathlib import Path

import aiohttp
import pytest

from service.storage.base import CHUNK
from service.storage.folder import FolderBlobs
from tests.audit.test_verification import verify
from tests.client import Client
from tests.http.files import download, upload
from tests.http.test_uploads import two_parts

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


async def test_a_large_file_that_was_changed_ends_too_early(client: Client, tmp_path: Path) -> None:
    content = os.urandom(3 * CHUNK)
    file = await upload(client, content)
    path = tmp_path / "blobs" / file["id"]
    path.write_bytes(content[:10] + bytes([content[10] ^ 1]) + content[11:])
    with pytest.raises(aiohttp.ClientPayloadError):
        await download(client, file["id"])
    path.write_bytes(content)
    assert (await download(client, file["id"]))[:2] == (200, content)


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
