"""An S3-compatible server: moto's, in a process of its own."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import aiohttp
import pytest

START_S = 60.0


@asynccontextmanager
async def s3(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """The URL of a folder in an empty bucket; the environment names the server and its credentials."""
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        endpoint = f"http://127.0.0.1:{probe.getsockname()[1]}"
    command = (sys.executable, "-c", "from moto.server import main; main()", f"-p{endpoint.rpartition(':')[2]}")
    moto = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        assert moto.stderr is not None
        async with asyncio.timeout(START_S):
            while b"Running on" not in await moto.stderr.readline():
                assert not moto.stderr.at_eof()
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        async with aiohttp.ClientSession() as session, session.put(f"{endpoint}/bucket") as made:
            assert made.status == 200
        yield "s3://bucket/some/prefix"
    finally:
        moto.kill()
        await moto.wait()
