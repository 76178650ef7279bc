"""Endless forms, which no HTTP library sends. Each is stopped by a bound, not by a time-out."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol

from service.database import Pool
from service.http.errors import ApiError
from service.http.forms import FORM_SLACK, MAX_LINES, _Around
from tests.client import WAIT_S, Client
from tests.http.files import BOUNDARY, blobs_in, field, file_head
from tests.wire.sample_objects import count_events
from tests.wire.test_raw import chunked_pieces, request, send_raw

FORM = f"Content-Type: multipart/form-data; boundary={BOUNDARY}".encode()
START = f"--{BOUNDARY}\r\n".encode()
ENDLESS = 10_000_000  # pieces
LINES = f"The form has more than {MAX_LINES} lines or {FORM_SLACK} bytes around its contents."
TWICE = "'purpose' was given more than once"
UNREAD = "The form could not be read: a line of it is too long, or the headers of a part are not well-formed."


def endless_file(piece: bytes, first: bytes = b"") -> Iterator[bytes]:
    return itertools.chain(chunked_pieces(first, 1) if first else (), chunked_pieces(piece, ENDLESS))


def numbered_parts() -> Iterator[bytes]:
    for number in itertools.count():
        yield from chunked_pieces(field(f"f{number}", "x"), 1)


BODIES: dict[str, tuple[Callable[[], Iterator[bytes]], int, str]] = {
    "a preamble": (lambda: endless_file(b"x\r\n" * 20_000), 413, LINES),
    "a preamble of long lines": (lambda: endless_file(b"x" * 60_000 + b"\r\n"), 413, LINES),
    "a line": (lambda: endless_file(b"x" * 60_000), 400, UNREAD),
    "one field": (lambda: endless_file(field("purpose", "assistants") * 500), 400, TWICE),
    "fields": (numbered_parts, 400, "The form has more than 20 fields."),
    "headers": (lambda: endless_file(b"X-A: y\r\n" * 5_000, START), 400, UNREAD),
    "long headers": (lambda: endless_file((b"X-A: " + b"y" * 7_000 + b"\r\n") * 20, START), 400, UNREAD),
    "a header": (lambda: endless_file(b"y" * 60_000, START + b"X-A: "), 400, UNREAD),
    "a field": (
        lambda: endless_file(b"y" * 60_000, field("purpose", "")[:-2]),
        400,
        "Invalid 'purpose': longer than 4096 bytes.",
    ),
    "empty parts": (lambda: endless_file(START * 5_000), 400, UNREAD),
    "what follows a file": (
        lambda: endless_file(b"x\r\n" * 20_000, file_head() + b"Hello.\r\n" + START + b"\r\n"),
        400,
        "Every part of the form must have a name, and none may hold parts itself.",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/v1/files", "/v1/uploads/{upload}/parts"])
@pytest.mark.parametrize("name", BODIES)
async def test_a_form_without_end(client: Client, pool: Pool, tmp_path: Path, name: str, path: str) -> None:
    body = {"filename": "a", "purpose": "batch", "bytes": 8, "mime_type": "text/plain"}
    upload = (await client.post("/uploads", body))["id"]
    before = await count_events(pool)
    pieces, status, message = BODIES[name]
    head = request(f"POST {path.format(upload=upload)}", FORM, b"Transfer-Encoding: chunked")
    answer, others = await asyncio.gather(send_raw(client.base_url, head, pieces()), client.get("/assistants"))
    assert others["data"] == []
    assert (answer.status, answer.body["error"]["message"]) == (status, message)
    assert await count_events(pool) == before
    assert blobs_in(tmp_path) == []


async def test_every_line_is_a_turn_of_the_loop_and_there_are_only_so_many() -> None:
    """All lines are in the buffer already, so a reader that never yields would block other requests."""
    content = StreamReader(BaseProtocol(asyncio.get_running_loop()), 2**16)
    content.feed_data(b"x\r\n" * (MAX_LINES + 1))
    around, turns, reading = _Around(content), 0, True

    async def others() -> None:
        nonlocal turns
        while reading:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(others())
    async with asyncio.timeout(WAIT_S):
        for _ in range(MAX_LINES):
            assert await around.readline() == b"x\r\n"
        with pytest.raises(ApiError, match="more than 4000 lines"):
            await around.readline()
    reading = False
    await other
    assert turns >= MAX_LINES
