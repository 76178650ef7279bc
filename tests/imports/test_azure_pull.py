"""Downloads from an Everthread that plays Azure, with faults on the way, and the import of what came."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from openai import AsyncAzureOpenAI

from service.database import Pool
from service.errors import CommandError
from service.imports.azure_pull import AzurePull
from tests.client import KEY, Client
from tests.http.stores import file_named, settled
from tests.http.test_forks import contents, conversation
from tests.imports.test_importer import elsewhere, import_folder
from tests.scripted import ScriptedServer

__all__ = ["elsewhere"]

# Returns the status that answers a request in place of the server's, 0 to break the connection, None for the server's.
Fault = Callable[[str, int], int | None]
REFUSED = {"error": {"message": "Not allowed to download files of purpose: assistants"}}


class Azure:
    """A proxy in front of a server, with faults. `paths` are those that reached the server."""

    def __init__(self, base_url: str, fault: Fault) -> None:
        self.paths: list[str] = []
        self._base_url = base_url.removesuffix("/v1")
        self._fault = fault
        self._count = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self._count += 1
        fault = self._fault(request.path, self._count)
        if fault == 0 and request.transport is not None:
            request.transport.abort()
        if fault is not None:
            return web.json_response(REFUSED, status=fault or 500, headers={"retry-after-ms": "1"})
        self.paths.append(request.path)
        headers = {"api-key": request.headers["api-key"]}
        async with ClientSession() as session, session.get(self._base_url + request.path_qs, headers=headers) as answer:
            return web.Response(status=answer.status, body=await answer.read(), content_type=answer.content_type)


@asynccontextmanager
async def azure(
    client: Client, fault: Fault = lambda *_: None, *, key: str = KEY, retries: int = 4
) -> AsyncIterator[tuple[AsyncAzureOpenAI, Azure]]:
    """Yields Azure's client for a proxy of the server, and the proxy."""
    proxy, application = Azure(client.base_url, fault), web.Application()
    application.router.add_get("/{path:.*}", proxy.answer)
    async with (
        TestServer(application) as server,
        AsyncAzureOpenAI(
            azure_endpoint=f"http://{server.host}:{server.port}",
            api_key=key,
            api_version="2024-05-01-preview",
            max_retries=retries,
        ) as found,
    ):
        yield found, proxy


def refuse_every_third(_: str, count: int) -> int | None:
    return (429, 500, 503)[count % 9 // 3] if count % 3 == 0 else None


@pytest.mark.slow
async def test_all_that_azure_gives_is_imported(
    client: Client, model: ScriptedServer, elsewhere: tuple[Client, Pool, Path], tmp_path: Path
) -> None:
    other, pool, home = elsewhere
    thread, assistant = await conversation(client, model)
    file = await file_named(client, "notes.txt", "Some notes.")
    store = (await client.post("/vector_stores", {"name": "Notes", "file_ids": [file]}))["id"]
    await settled(client, store)
    async with azure(client, refuse_every_third) as (resource, _):
        pull = AzurePull(resource, tmp_path)
        await pull.run([thread, "thread_missing"], lambda: None)
    assert [one.place for one in pull.missing] == ["threads/thread_missing.json"]
    report = await import_folder(tmp_path, pool, home, files=tmp_path / "bytes")
    assert report.skipped == []
    assert await contents(other, thread) == await contents(client, thread)
    assert await other.get(f"/assistants/{assistant}") == await client.get(f"/assistants/{assistant}")
    assert await other.get(f"/files/{file}") == await client.get(f"/files/{file}")
    assert (await settled(other, store))["file_counts"]["completed"] == 1


async def test_a_download_goes_on_where_it_was(client: Client, tmp_path: Path) -> None:
    threads = [(await client.post("/threads", {}))["id"] for _ in range(3)]

    def break_at_the_second(path: str, _: int) -> int | None:
        return 0 if threads[1] in path else None

    async with azure(client, break_at_the_second, retries=0) as (resource, _):
        with pytest.raises(CommandError, match="Azure cannot be reached"):
            await AzurePull(resource, tmp_path).run(threads, lambda: None)
    assert [path.stem for path in (tmp_path / "threads").iterdir()] == [threads[0]]
    async with azure(client) as (resource, proxy):
        await AzurePull(resource, tmp_path).run(threads, lambda: None)
    assert {path.stem for path in (tmp_path / "threads").iterdir()} == set(threads)
    assert not any(threads[0] in path or path.endswith("/assistants") for path in proxy.paths)


async def test_bytes_that_azure_does_not_give(client: Client, tmp_path: Path) -> None:
    file = await file_named(client, "notes.txt", "Some notes.")

    def refuse_bytes(path: str, _: int) -> int | None:
        return 400 if path.endswith("/content") else None

    async with azure(client, refuse_bytes) as (resource, _):
        pull = AzurePull(resource, tmp_path)
        await pull.run([], lambda: None)
    assert [one.place for one in pull.missing] == [f"bytes of {file}"]
    assert "Not allowed to download" in pull.missing[0].reason
    assert list((tmp_path / "bytes").iterdir()) == []


async def test_a_key_that_is_refused(client: Client, tmp_path: Path) -> None:
    async with azure(client, key="sk-wrong") as (resource, _):
        with pytest.raises(CommandError, match="Azure refuses the key"):
            await AzurePull(resource, tmp_path).run([], lambda: None)


@pytest.mark.parametrize("id", ["../x", "a/b", "", ".hidden", "a\x00"])
async def test_an_id_that_is_no_name_of_a_file(client: Client, tmp_path: Path, id: str) -> None:
    async with azure(client) as (resource, _):
        pull = AzurePull(resource, tmp_path)
        (tmp_path / "files.json").write_bytes(orjson.dumps([{"id": id}]))
        await pull.run([], lambda: None)
    assert [one.place for one in pull.missing] == [f"bytes/{id}"]
    assert not (tmp_path / "bytes").exists()
