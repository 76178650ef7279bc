"""Parts of a file's content, by the header Range (RFC 9110, section 14)."""

from __future__ import annotations

import os

import pytest

from tests.client import Client
from tests.http.files import upload

SIZE = 1_500_000
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize(
    ("range", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-", 0, SIZE),
        ("bytes=10-19", 10, 20),
        ("Bytes=10-19", 10, 20),
        ("bytes=1048570-1048590", 1_048_570, 1_048_591),
        (f"bytes={SIZE - 1}-", SIZE - 1, SIZE),
        (f"bytes=5-{SIZE * 9}", 5, SIZE),
        ("bytes=-7", SIZE - 7, SIZE),
        (f"bytes=-{SIZE * 9}", 0, SIZE),
    ],
)
async def test_a_range_is_sent_alone(client: Client, range: str, start: int, stop: int) -> None:
    content = os.urandom(SIZE)
    file = await upload(client, content)
    url, headers = f"{client.base_url}/files/{file['id']}/content", {**client.headers, "Range": range}
    async with client.session.get(url, headers=headers) as response:
        assert response.status == 206
        assert response.headers["Accept-Ranges"] == "bytes"
        assert response.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{SIZE}"
        assert response.headers["Content-Length"] == str(stop - start)
        assert response.headers["Content-Type"] == "text/plain"
        assert await response.read() == content[start:stop]


@pytest.mark.parametrize(
    "headers",
    [
        {"Range": "bytes=9-3"},
        {"Range": "bytes=-"},
        {"Range": "bytes=0-1,5-6"},
        {"Range": "lines=0-1"},
        {"Range": "bytes=x-1"},
        {"Range": f"bytes={'1' * 5000}-"},
        {"Range": "bytes=0-1", "If-Range": '"x"'},
    ],
)
async def test_other_ranges_are_ignored(client: Client, headers: dict[str, str]) -> None:
    file = await upload(client, b"Hello.")
    url = f"{client.base_url}/files/{file['id']}/content"
    async with client.session.get(url, headers={**client.headers, **headers}) as response:
        assert (response.status, await response.read()) == (200, b"Hello.")
        assert "Content-Range" not in response.headers
        assert response.headers["Accept-Ranges"] == "bytes"
    async with client.session.head(url, headers={**client.headers, "Range": "bytes=0-1"}) as response:
        assert (response.status, response.headers["Content-Length"]) == (200, "6")


@pytest.mark.parametrize("range", ["bytes=6-", "bytes=99-100", "bytes=-0"])
async def test_a_range_without_bytes(client: Client, range: str) -> None:
    file = await upload(client, b"Hello.")
    answer = await client.call("GET", f"/files/{file['id']}/content", headers={"Range": range})
    message = "The header Range asks for bytes that the file does not have: it has 6 bytes."
    assert answer.error == (416, message, None, None)
    assert answer.headers["Content-Range"] == "bytes */6"


async def test_a_range_by_a_link(client: Client) -> None:
    """A picture stays one if its first bytes are not in the range."""
    file = await upload(client, PNG + bytes(100), "vision")
    link = await client.post(f"/files/{file['id']}/links", {})
    async with client.session.get(link["url"], headers={"Range": "bytes=50-59"}) as response:
        assert (response.status, response.headers["Content-Type"], await response.read()) == (
            206,
            "image/png",
            bytes(10),
        )
