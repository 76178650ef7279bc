"""Pages of imported objects: lists follow the times at which the objects were created at their origin."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from service.cli import thread_deletion
from service.database import Pool
from service.replay import past_lists
from tests.client import Client
from tests.http.keys import as_key, writer
from tests.imports.test_importer import PROJECT, import_folder

CREATED = 1_700_000_000
THREADS = [f"thread_{letter}" for letter in "abcdef"]


async def import_threads(pool: Pool, home: Path) -> list[str]:
    """Imports six threads and returns their ids, oldest first. The oldest one is imported last."""
    folder = home / "saved"
    folder.mkdir()
    for place, id in enumerate(THREADS):
        thread = {"id": id, "object": "thread", "created_at": CREATED - place, "metadata": {"k": "v"}}
        (folder / f"{id}.json").write_bytes(orjson.dumps(thread))
    report = await import_folder(folder, pool, home)
    assert report.imported["thread"] == len(THREADS)
    return THREADS[::-1]


async def page_ids(client: Client, path: str, **query: str) -> tuple[list[str], bool]:
    answer = await client.get(path, **query)
    return [one["id"] for one in answer["data"]], answer["has_more"]


async def assert_pages(client: Client, path: str, ids: list[str], **query: str) -> None:
    """Asserts that each cursor gives the page behind it or before it. `ids` are the ids of the list, oldest first."""
    newest = ids[::-1]
    for place, (old, new) in enumerate(zip(ids, newest, strict=True), start=1):
        most = {"limit": "2", **query}
        rest = len(ids) - place
        assert await page_ids(client, path, order="asc", after=old, **most) == (ids[place : place + 2], rest > 2)
        assert await page_ids(client, path, after=new, **most) == (newest[place : place + 2], rest > 2)
        before = newest[max(0, place - 3) : place - 1]
        assert await page_ids(client, path, before=new, **most) == (before, place > 3)


def now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


async def test_pages_of_threads(client: Client, pool: Pool, tmp_path: Path) -> None:
    ids = await import_threads(pool, tmp_path)
    own = (await client.post("/threads", {"metadata": {"k": "v"}}))["id"]
    at = now()
    for query in ({}, {"metadata[k]": "v"}, {"at": at}):
        await assert_pages(client, "/threads", [*ids, own], **query)

    await client.delete(f"/threads/{ids[2]}")
    kept = [*ids[:2], *ids[3:], own]
    for more in ({}, {"metadata[k]": "v"}, {"at": at}):
        found = await page_ids(client, "/threads", order="asc", after=ids[2], limit="2", **more)
        assert found == (ids[3:5], True), "the id of a deleted thread keeps its place"
        await assert_pages(client, "/threads", kept, **more)
    answer = await client.call("GET", "/threads?after=thread_none")
    assert answer.error == (404, "No thread found with id 'thread_none'.", None, None)


async def test_deleted_threads_in_lists_of_the_past(
    client: Client, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await import_threads(pool, tmp_path)
    own = (await client.post("/threads", {}))["id"]
    at = now()
    monkeypatch.setattr(past_lists, "CANDIDATES", 2)
    auditor = await as_key(client, pool, scope="audit:content")
    async with auditor:
        for id in (ids[1], ids[5], own, ids[2], ids[0]):
            await client.delete(f"/threads/{id}")
            await assert_pages(auditor, "/threads", [*ids, own], at=at)


@pytest.mark.parametrize("path", ["/assistants", "/vector_stores", "/files"])
async def test_pages_of_other_objects(client: Client, pool: Pool, tmp_path: Path, path: str) -> None:
    folder, bytes_folder = tmp_path / "saved", tmp_path / "bytes"
    folder.mkdir()
    bytes_folder.mkdir()
    prefix = {"/assistants": "asst_", "/vector_stores": "vs_", "/files": "file-"}[path]
    ids = [f"{prefix}{letter}" for letter in "dcba"]
    for place, id in enumerate(reversed(ids)):
        body = {"id": id, "created_at": CREATED - place, "metadata": {}}
        match path:
            case "/assistants":
                body |= {"object": "assistant", "model": "gpt-4o", "tools": []}
            case "/vector_stores":
                body |= {"object": "vector_store", "name": id, "status": "completed"}
            case _:
                body |= {"object": "file", "filename": f"{id}.txt", "purpose": "assistants", "bytes": 1}
                (bytes_folder / f"{id}.txt").write_text("x")
        (folder / f"{id}.json").write_bytes(orjson.dumps(body))
    await import_folder(folder, pool, tmp_path, files=bytes_folder)
    await assert_pages(client, path, ids)
    at = {} if path == "/files" else {"at": now()}
    await assert_pages(client, path, ids, **at)
    await client.delete(f"{path}/{ids[1]}")
    for query in ({}, at):
        found = await page_ids(client, path, order="asc", after=ids[1], limit="2", **query)
        assert found == (ids[2:], False), "the id of a deleted object keeps its place"


async def test_all_imported_threads_are_deleted(pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = await import_threads(pool, tmp_path)
    monkeypatch.setattr(thread_deletion, "PAGE", 2)
    everything = thread_deletion.filter_of([], None, None, datetime.now(UTC))
    pages = [page async for page in thread_deletion.delete(writer(pool), PROJECT, everything)]
    assert pages == [ids[:2], ids[2:4], ids[4:]]
    assert await thread_deletion.count(writer(pool), PROJECT, everything) == 0
