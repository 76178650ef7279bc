"""Objects that were saved from one server and imported into another are answered as they were saved."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from events.actors import CommandLineActor
from events.envelope import Origin
from projections.rebuild import verify
from service.database import Pool, open_pool
from service.feed import Feed
from service.imports.collection import collect
from service.imports.importer import FileBytes, ImportReport, ObjectImporter
from service.imports.saved_files import read_saved
from service.imports.saved_objects import SavedFile
from service.storage.folder import FolderBlobs
from service.writer import Writer
from tests.client import V1, V2, Client
from tests.clock import IDS, WallClock
from tests.fake_search_engine import FakeSearchEngine
from tests.fixtures.postgres import copied_database
from tests.fixtures.server import serving
from tests.http.files import download
from tests.http.helpers import said_by
from tests.http.stores import file_named, settled
from tests.http.test_forks import contents, conversation, listed
from tests.replay.test_check_history import deviations, history_check
from tests.scripted import ScriptedServer, says

PROJECT = "proj_default"


@pytest.fixture
async def elsewhere(postgres: str, model: ScriptedServer, tmp_path: Path) -> AsyncIterator[tuple[Client, Pool, Path]]:
    """Another server: its client, its database, and its folder."""
    home = tmp_path / "elsewhere"
    home.mkdir()
    async with copied_database(postgres) as url:
        pool = await open_pool(url)
        async with serving(url, model, home, search_engine=FakeSearchEngine(), clock=WallClock()) as client:
            yield client, pool, home
        pool.terminate()


async def import_folder(
    saved: Path, pool: Pool, home: Path, *, files: Path | None = None, dry_run: bool = False, project: str = PROJECT
) -> ImportReport:
    importer = ObjectImporter(
        Writer(pool, Feed(), clock=WallClock(), ids=IDS),
        FolderBlobs(home / "blobs"),
        Origin(project, CommandLineActor("tester@here")),
        source="openai",
        files=FileBytes(files),
        embedding_model=FakeSearchEngine().indexer.embedding_model,
        can_index=FakeSearchEngine().indexer.can_index,
        max_store_files=100,
        ids=IDS,
        dry_run=dry_run,
    )
    return await importer.run(collect(read_saved(saved)), lambda: None)


async def save(client: Client, folder: Path, thread: str, assistant: str, store: str) -> None:
    """Saves the objects as a program that downloads them from the API would do it."""
    found = await contents(client, thread)
    runs = [{**run, "steps": steps} for run, steps in zip(found["runs"], found["steps"], strict=True)]
    (folder / "threads").mkdir(parents=True)
    document = {"thread": found["thread"], "messages": found["messages"], "runs": runs}
    (folder / "threads" / f"{thread}.json").write_bytes(orjson.dumps(document))
    for name, path in {
        "assistant": f"/assistants/{assistant}",
        "files": "/files",
        "stores": f"/vector_stores/{store}",
        "store_files": f"/vector_stores/{store}/files",
    }.items():
        (folder / f"{name}.json").write_bytes(orjson.dumps(await client.get(path)))


def without_ends(found: dict[str, Any]) -> dict[str, Any]:
    messages = [{name: one[name] for name in one if name != "completed_at"} for one in found["messages"]]
    return {**found, "messages": messages}


@pytest.mark.slow
async def test_a_round_trip(
    client: Client, model: ScriptedServer, elsewhere: tuple[Client, Pool, Path], tmp_path: Path
) -> None:
    other, pool, home = elsewhere
    thread, assistant = await conversation(client, model)
    file = await file_named(client, "notes.txt", "Some notes.")
    store = (await client.post("/vector_stores", {"name": "Notes", "file_ids": [file], "metadata": {"a": "b"}}))["id"]
    await settled(client, store)
    saved = tmp_path / "saved"
    await save(client, saved, thread, assistant, store)

    before = await import_folder(saved, pool, home, dry_run=True)
    assert before.imported["thread"] == 1
    assert (await other.call("GET", f"/threads/{thread}")).status == 404

    without_bytes = await import_folder(saved, pool, home)
    assert without_bytes.imported == before.imported
    places = [f"file {file} (notes.txt)", f"vector store {store}: file {file}"]
    assert [one.place for one in without_bytes.skipped] == places
    for version in (V1, V2):
        client.headers["OpenAI-Beta"] = other.headers["OpenAI-Beta"] = version
        # v2 does not show when a message was completed, so the time of its creation stands for it.
        assert without_ends(await contents(other, thread)) == without_ends(await contents(client, thread))
        assert await other.get(f"/assistants/{assistant}") == await client.get(f"/assistants/{assistant}")

    (tmp_path / "bytes").mkdir()
    (tmp_path / "bytes" / f"{file}.txt").write_text("Some notes.")
    with_bytes = await import_folder(saved, pool, home, files=tmp_path / "bytes")
    assert {kind: count for kind, count in with_bytes.imported.items() if count} == {"file": 1, "vector store file": 1}
    assert with_bytes.skipped == []
    await settled(other, store)
    assert await other.get(f"/files/{file}") == await client.get(f"/files/{file}")
    assert (await download(other, file))[:2] == (200, b"Some notes.")
    names = ("id", "name", "created_at", "metadata", "file_counts", "status", "expires_after")
    found, expected = await other.get(f"/vector_stores/{store}"), await client.get(f"/vector_stores/{store}")
    assert {name: found[name] for name in names} == {name: expected[name] for name in names}

    again = await import_folder(saved, pool, home, files=tmp_path / "bytes")
    assert not any(again.imported.values())
    assert again.present == {"file": 1, "vector store": 1, "assistant": 1, "thread": 1}
    async with pool.acquire() as db:
        assert await verify(db, thread) == []
    assert await deviations(history_check(), pool) == []


async def test_an_imported_thread_goes_on(
    model: ScriptedServer, elsewhere: tuple[Client, Pool, Path], tmp_path: Path
) -> None:
    other, pool, home = elsewhere
    (tmp_path / "saved.csv").write_text(
        "thread_id,role,content,created_at\nthread_abc,user,My name is Ada.,1700000000\n"
        "thread_abc,assistant,Hello Ada.,1700000001\n"
    )
    await import_folder(tmp_path / "saved.csv", pool, home)
    assistant = (await other.post("/assistants", {"model": "gpt-4o"}))["id"]
    await other.post("/threads/thread_abc/messages", {"role": "user", "content": "What is my name?"})
    model.script(says("Ada."))
    run = await other.settled(await other.post("/threads/thread_abc/runs", {"assistant_id": assistant}))
    assert await said_by(other, run) == ["Ada."]
    assert [one["content"] for one in model.requests[-1]["messages"]] == [
        "My name is Ada.",
        "Hello Ada.",
        "What is my name?",
    ]
    assert [one["created_at"] for one in (await listed(other, "/threads/thread_abc/messages"))[:2]] == [
        1700000000,
        1700000001,
    ]
    assert (await other.get("/threads", order="asc"))["data"][0]["created_at"] == 1700000000


async def test_ids_of_another_project(elsewhere: tuple[Client, Pool, Path], tmp_path: Path) -> None:
    other, pool, home = elsewhere
    thread = await other.get(f"/threads/{(await other.post('/threads', {}))['id']}")
    (tmp_path / "thread.json").write_bytes(orjson.dumps({**thread, "metadata": {"a": "b"}}))
    report = await import_folder(tmp_path / "thread.json", pool, home, project="proj_other")
    assert [one.reason for one in report.skipped] == ["another project has an object of this id"]
    assert (await import_folder(tmp_path / "thread.json", pool, home)).present == {"thread": 1}
    assert await other.get(f"/threads/{thread['id']}") == thread


def test_bytes_by_id_by_name_and_by_size(tmp_path: Path) -> None:
    for name in ("file-1.pdf", "a/report.txt", "b/report.txt", "b/other.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    files = FileBytes(tmp_path)

    def found(id: str, filename: str, size: int | None = None, *, by_name: bool = True) -> Any:
        path = files.find(SavedFile(id=id, created_at=1, filename=filename, bytes=size), by_name=by_name)
        return None if path is None else path.relative_to(tmp_path).as_posix()

    assert found("file-1", "x.pdf") == "file-1.pdf"
    assert found("file-1", "x.pdf", 3) is None
    assert found("file-2", "other.txt") == "b/other.txt"
    assert found("file-2", "report.txt") is None, "two files have the name"
    assert found("file-3", "nothing.txt") is None
    assert found("file-3", "other.txt", by_name=False) is None


async def test_files_of_a_store_that_are_not_here(
    model: ScriptedServer, elsewhere: tuple[Client, Pool, Path], tmp_path: Path
) -> None:
    """A store gets the files that the project has, and waits for none that it does not have."""
    other, pool, home = elsewhere
    here, gone = await file_named(other, "a.txt"), await file_named(other, "b.txt")
    await other.delete(f"/files/{gone}")
    image = await file_named(other, "c.bin")
    store = {"id": "vs_1", "object": "vector_store", "created_at": 5, "name": "n"}
    added = [
        {"id": id, "object": "vector_store.file", "created_at": 5, "vector_store_id": "vs_1", "attributes": {"a": "\0"}}
        for id in (here, gone, image, "file-unknown")
    ]
    (tmp_path / "store.json").write_bytes(orjson.dumps([store, *added]))
    report = await import_folder(tmp_path / "store.json", pool, home)
    assert {kind: count for kind, count in report.imported.items() if count} == {
        "vector store": 1,
        "vector store file": 1,
    }
    assert [one.place for one in report.skipped] == [
        f"vector store vs_1: file {id}" for id in (gone, image, "file-unknown")
    ]
    assert (await settled(other, "vs_1"))["file_counts"]["completed"] == 1
