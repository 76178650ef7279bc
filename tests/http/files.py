"""Multipart forms built by hand, so that a test controls their order, names and lengths."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from service.files.blob_marker import MARKER
from tests.client import Answer, Client

BOUNDARY = "xxBOUNDARYxx"
Field = tuple[str, str | bytes]


def field(name: str, value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (BOUNDARY.encode(), name.encode(), raw)


def file_head(name: str = "file", filename: str = 'filename="a.txt"', kind: str = "text/plain") -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; {filename}\r\nContent-Type: {kind}\r\n\r\n'
    return head.encode()


END = f"\r\n--{BOUNDARY}--\r\n".encode()


def form(
    content: bytes = b"Hello.",
    fields: Sequence[Field] = (("purpose", "assistants"),),
    *,
    after: bool = False,
    **head: str,
) -> bytes:
    """Returns a form with one file, and its fields in front of the file or behind it."""
    others = b"".join(field(*one) for one in fields)
    file = file_head(**head) + content
    last = f"--{BOUNDARY}--\r\n".encode()
    return file + b"\r\n" + others + last if after else others + file + b"\r\n" + last


async def send(client: Client, body: bytes | AsyncIterator[bytes], path: str = "/files", **headers: str) -> Answer:
    sent = {
        **{name: value for name, value in client.headers.items() if name != "OpenAI-Beta"},
        "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
        **headers,
    }
    async with client.session.post(client.base_url + path, data=body, headers=sent) as response:
        answer = Answer(response.status, orjson.loads(await response.read()), response.headers)
    return client.checked("POST", path, sent, answer)


async def upload(client: Client, content: bytes = b"Hello.", purpose: str = "assistants", **head: str) -> Any:
    answer = await send(client, form(content, [("purpose", purpose)], after=False, **head))
    assert answer.status == 200, answer.body
    return answer.body


async def download(client: Client, file_id: str) -> tuple[int, bytes, Mapping[str, str]]:
    url = f"{client.base_url}/files/{file_id}/content"
    async with client.session.get(url, headers=client.headers) as response:
        return response.status, await response.read(), response.headers


def blobs_in(folder: Path) -> list[str]:
    """Returns the names of the files in a server's blob folder, without the marker of the database."""
    return sorted(entry.name for entry in (folder / "blobs").iterdir() if entry.name != MARKER)
