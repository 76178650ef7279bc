"""An import of an export gives another installation the same objects, whatever step it is broken off at."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from events import event_log
from events.installation import (
    INSTALLATION_ID,
    INSTALLATION_PROJECT,
    ImportedStream,
    ImportEnded,
    ImportStarted,
    RecordActs,
    StreamsImported,
)
from service.audit.acts import write_installation
from service.audit.verification import Scope, verify_installation
from service.database import Pool, connect, open_pool
from service.exports.containers import read_files
from service.exports.layout import ExportFault
from service.imports import export_importer
from service.imports.event_spool import EventSpool
from service.imports.export_importer import ExportImporter, ImportProgress
from service.imports.export_plan import ImportConflict, ImportOrder, plan_import, read_export
from service.migrations import prepare_database
from service.secrets.encryption import begin_encryption
from service.secrets.key_ring import RING, new_secret
from service.secrets.key_source import EncryptionKeySource
from service.storage.folder import FolderBlobs
from sql.connection import Connection
from tests.audit.test_sequencer import seal_all
from tests.events.thread.story import add
from tests.exports.test_exports import BYTES, FILE_ID, Installation
from tests.fixtures.postgres import empty_database
from tests.projections.helpers import ORIGIN, make_thread, served_rows, writer


class Target:
    """The installation that an export is imported into."""

    def __init__(self, url: str, pool: Pool, folder: Path) -> None:
        self.url = url
        self.pool = pool
        self.folder = folder
        self.blobs = FolderBlobs(folder / "target")

    async def import_from(self, place: Path, *, forgotten: tuple[str, ...] = ()) -> tuple[ImportOrder, ImportProgress]:
        """Imports the export."""
        spool = EventSpool(self.folder)
        try:
            export = read_export(place, spool, passphrase=None, keys=(), on_progress=lambda _: None)
            async with self.pool.acquire() as db:
                order = await plan_import(db, export, spool, forgotten)
                importer = ExportImporter(
                    *(writer(self.pool), self.blobs, spool),
                    origin=ORIGIN,
                    import_id="import_1",
                )
                await importer.run(db, export, order, read_files(place, None))
            return order, importer.progress
        finally:
            spool.close()

    async def faults(self) -> list[str]:
        async with self.pool.acquire() as db:
            await seal_all(db)
        found = await verify_installation(self.url, self.blobs, Scope(processes=1), lambda _: None)
        return [str(fault) for fault in found.faults]


@asynccontextmanager
async def opened_target(postgres: str, folder: Path, *, is_encrypted: bool = False) -> AsyncIterator[Target]:
    async with empty_database(postgres) as url:
        await prepare_database(url)
        if is_encrypted:
            db = await connect(url)
            await begin_encryption(db, EncryptionKeySource(folder=folder, keys="x"), [new_secret()], ring=RING)
            await db.close()
        pool = await open_pool(url)
        try:
            yield Target(url, pool, folder)
        finally:
            pool.terminate()


async def rows(db: Connection) -> dict[str, Any]:
    """Returns the rows of all views, by stream."""
    ids = [row["stream_id"] for row in await db.fetch("SELECT stream_id FROM streams WHERE kind <> 'installation'")]
    return {id: found for id in ids if (found := await served_rows(db, id))}


async def events(db: Connection) -> list[Any]:
    return await db.fetch(
        "SELECT stream_id, version, at, actor, request_id, leaf FROM events WHERE stream_id <> 'installation'"
        " ORDER BY stream_id, version"
    )


@pytest.fixture
async def source(pool: Pool, db: Connection, tmp_path: Path) -> Installation:
    found = Installation(pool, db, tmp_path / "source")
    await found.fill()
    await found.export(tmp_path / "export")
    return found


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_importer, "BATCH_EVENTS", 100)
    monkeypatch.setattr(export_importer, "COPY_EVENTS", 7)


@pytest.mark.parametrize("is_encrypted", [False, True])
async def test_an_import_makes_the_same_objects(
    source: Installation, postgres: str, tmp_path: Path, is_encrypted: bool
) -> None:
    async with opened_target(postgres, tmp_path, is_encrypted=is_encrypted) as target:
        _, progress = await target.import_from(tmp_path / "export")
        assert (progress.blobs, progress.missing_blobs) == (2, set())
        assert progress.events == await source.db.fetchval("SELECT count(*) FROM events")
        async with target.pool.acquire() as db:
            assert await rows(db) == await rows(source.db)
            assert await events(db) == await events(source.db)
            sealed = await db.fetchval("SELECT count(*) FROM events WHERE key_id IS NOT NULL")
            assert sealed == (progress.events if is_encrypted else 0)
        assert b"".join([piece async for piece in target.blobs.read(f"blob_{FILE_ID}")]) == BYTES
        assert await target.faults() == []
        # Imported streams go on as others do.
        await writer(target.pool).thread(ORIGIN, "thread_file", add("More", "msg_more"))
        assert await target.faults() == []


async def test_the_log_says_what_was_imported(source: Installation, postgres: str, tmp_path: Path) -> None:
    async with opened_target(postgres, tmp_path) as target:
        await target.import_from(tmp_path / "export")
        async with target.pool.acquire() as db:
            acts = [entry.event for entry in await event_log.read(db, INSTALLATION_ID)]
        started, *announced, ended = acts
        assert isinstance(started, ImportStarted)
        assert isinstance(ended, ImportEnded)
        origin = await source.db.fetchval("SELECT origin FROM log_epochs")
        assert started.origin == origin
        assert started.checkpoint is not None
        assert started.checkpoint.startswith(f"{origin}\n")
        assert len(announced) > 1
        named = {
            stream.stream_id: stream for act in announced if isinstance(act, StreamsImported) for stream in act.streams
        }
        heads = await source.db.fetch("SELECT stream_id, version, leaf FROM streams")
        assert {id: (each.after, each.version, each.leaf) for id, each in named.items()} == {
            row["stream_id"]: (0, row["version"], row["leaf"].hex()) for row in heads
        }


class Death(BaseException):
    """The process dies."""


async def test_an_event_that_takes_the_place_of_an_imported_one_is_found(
    source: Installation, postgres: str, tmp_path: Path
) -> None:
    async with opened_target(postgres, tmp_path) as target:
        await target.import_from(tmp_path / "export")
        other = ImportedStream(stream_id="thread_file", project_id="proj_1", after=0, version=2, leaf="00" * 32)
        false = RecordActs((StreamsImported(import_id="import_2", streams=[other]),))
        await write_installation(writer(target.pool), replace(ORIGIN, project_id=INSTALLATION_PROJECT), false)
        [fault] = await target.faults()
        assert "thread_file" in fault
        assert "the event is not the one that was imported" in fault


async def test_an_import_goes_on_whatever_step_it_dies_at(
    source: Installation, postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = [(export_importer, "write_installation"), (export_importer, "rebuild"), (export_importer, "_copy")]
    left = 0

    def dying(whole: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def step(*values: Any, **named: Any) -> Any:
            nonlocal left
            result = await whole(*values, **named)
            left -= 1
            if left == 0:
                raise Death
            return result

        return step

    for place, name in steps:
        monkeypatch.setattr(place, name, dying(getattr(place, name)))
    async with opened_target(postgres, tmp_path) as target:
        tries = 0
        while True:
            left, tries = 2 + tries, tries + 1
            try:
                await target.import_from(tmp_path / "export")
            except Death:
                assert await target.faults() == []
            else:
                break
        assert tries > 5
        async with target.pool.acquire() as db:
            assert await rows(db) == await rows(source.db)
            assert await events(db) == await events(source.db)
            count = await db.fetchval("SELECT count(*) FROM events")
            order, progress = await target.import_from(tmp_path / "export")
            assert (order.streams, progress.blobs) == ([], 0)
            assert await db.fetchval("SELECT count(*) FROM events") == count


async def test_a_newer_export_of_the_same_installation_adds_what_is_new(
    source: Installation, postgres: str, tmp_path: Path
) -> None:
    async with opened_target(postgres, tmp_path, is_encrypted=True) as target:
        await target.import_from(tmp_path / "export")
        await writer(source.pool).thread(ORIGIN, "thread_file", add("Later", "msg_later"))
        await make_thread(writer(source.pool), "thread_later")
        await source.sign()
        await source.export(tmp_path / "later")
        order, progress = await target.import_from(tmp_path / "later")
        assert [stream.stream_id for stream in order.streams] == ["thread_file", "thread_later"]
        assert progress.events == 2
        async with target.pool.acquire() as db:
            assert await rows(db) == await rows(source.db)
        assert await target.faults() == []


async def test_other_events_under_an_id_stop_the_import_before_it_begins(
    source: Installation, postgres: str, tmp_path: Path
) -> None:
    async with opened_target(postgres, tmp_path) as target:
        await make_thread(writer(target.pool), "thread_other", "Another one")
        with pytest.raises(ImportConflict, match="other events under the ids thread_other: nothing was imported"):
            await target.import_from(tmp_path / "export")
        async with target.pool.acquire() as db:
            assert list(await rows(db)) == ["thread_other"]
        assert not list((tmp_path / "target").iterdir())


async def test_what_is_not_imported(source: Installation, postgres: str, tmp_path: Path) -> None:
    async with opened_target(postgres, tmp_path) as target:
        order, _ = await target.import_from(tmp_path / "export", forgotten=("thread_1",))
        assert order.left_out == {"erased here": 1}
        async with target.pool.acquire() as db:
            assert "thread_1" not in await rows(db)


async def test_a_changed_export_imports_nothing(source: Installation, postgres: str, tmp_path: Path) -> None:
    file = tmp_path / "export" / "events" / "000000.jsonl"
    file.write_bytes(file.read_bytes().replace(b"Hello", b"Hullo", 1))
    async with opened_target(postgres, tmp_path) as target:
        with pytest.raises(ExportFault, match="Nothing was imported"):
            await target.import_from(tmp_path / "export")
        async with target.pool.acquire() as db:
            assert await db.fetchval("SELECT count(*) FROM streams") == 0
