"""A database and its blob store belong together: both hold one marker, and a server refuses any other pair."""

from __future__ import annotations

import asyncio
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from service.database import Pool
from service.errors import StartupError
from service.files.blob_marker import MARKER, check_blob_marker
from service.files.sweep import Sweep
from service.storage.folder import UNFINISHED, FolderBlobs
from service.storage.objects import ObjectBlobs
from tests.clock import CLOCK
from tests.conftest import StartServer
from tests.http.files import download, upload
from tests.projections.helpers import writer
from tests.storage.moto import s3


async def test_a_second_folder_on_one_database_is_refused(start_server: StartServer, tmp_path: Path) -> None:
    async with start_server() as one:
        file = await upload(one)
        with pytest.raises(StartupError, match=rf"{tmp_path}/two/blobs is not the one of this database"):
            async with start_server(data_dir=tmp_path / "two"):
                pass
        async with start_server() as other:
            assert (await download(other, file["id"]))[:2] == (200, b"Hello.")
    assert list((tmp_path / "two" / "blobs").iterdir()) == []


async def test_the_folder_of_another_database_is_refused(start_server: StartServer, pool: Pool, tmp_path: Path) -> None:
    async with start_server():
        pass
    (tmp_path / "blobs" / MARKER).write_text("another\n")
    with pytest.raises(StartupError, match="belongs to another database: its marker is 'another'"):
        async with start_server():
            pass
    # The text names the way out, and an editor adds a line break.
    (tmp_path / "blobs" / MARKER).write_text(await pool.fetchval("SELECT marker FROM blob_store") + "\n")
    async with start_server():
        pass
    # A new database does not take over the bytes of an old one: its sweep would delete them.
    await pool.execute("DELETE FROM blob_store")
    with pytest.raises(StartupError, match="belongs to another database"):
        async with start_server():
            pass


async def test_a_folder_and_a_database_from_before_get_a_marker(
    start_server: StartServer, pool: Pool, tmp_path: Path
) -> None:
    async with start_server() as client:
        file = await upload(client)
    await pool.execute("DELETE FROM blob_store")
    (tmp_path / "blobs" / MARKER).unlink()
    async with start_server() as client:
        assert (await download(client, file["id"]))[0] == 200
    assert (tmp_path / "blobs" / MARKER).read_text() == await pool.fetchval("SELECT marker FROM blob_store")


async def test_a_copy_of_the_folder_is_accepted(start_server: StartServer, tmp_path: Path) -> None:
    async with start_server() as client:
        file = await upload(client)
    shutil.copytree(tmp_path / "blobs", tmp_path / "restored" / "blobs")
    async with start_server(data_dir=tmp_path / "restored") as client:
        assert (await download(client, file["id"]))[0] == 200


@pytest.mark.parametrize("written", [None, MARKER, MARKER + UNFINISHED])
async def test_a_crash_during_the_first_start_is_no_obstacle(pool: Pool, tmp_path: Path, written: str | None) -> None:
    """The process died after the row was committed; the marker was not written, was written, or half written."""
    await pool.execute("INSERT INTO blob_store (marker) VALUES ('first')")
    blobs = FolderBlobs(tmp_path)
    if written is not None:
        (tmp_path / written).write_text("first" if written == MARKER else "fi")
    await check_blob_marker(pool, blobs, place="here", new_marker="second")
    assert [entry.name for entry in tmp_path.iterdir()] == [MARKER]
    assert (tmp_path / MARKER).read_text() == "first"


async def test_processes_that_start_at_once_agree(pool: Pool, tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path / "one")
    checks = (check_blob_marker(pool, blobs, place="one", new_marker=f"m{number}") for number in range(5))
    await asyncio.gather(*checks)
    with pytest.raises(StartupError):
        await check_blob_marker(pool, FolderBlobs(tmp_path / "two"), place="two", new_marker="m9")


async def test_the_sweep_keeps_the_marker(pool: Pool, tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)
    await check_blob_marker(pool, blobs, place="here", new_marker="first")
    await Sweep(writer(pool), blobs).remove_unowned(CLOCK.now() + timedelta(days=1))
    await check_blob_marker(pool, blobs, place="here", new_marker="second")


@pytest.mark.slow
async def test_an_object_store_has_a_marker_too(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    async with s3(monkeypatch) as url:
        blobs = ObjectBlobs(url)
        await check_blob_marker(pool, blobs, place=url, new_marker="first")
        await Sweep(writer(pool), blobs).remove_unowned(CLOCK.now() + timedelta(days=1))
        await check_blob_marker(pool, blobs, place=url, new_marker="second")
        with pytest.raises(StartupError, match="is not the one of this database"):
            await check_blob_marker(pool, ObjectBlobs(f"{url}/deeper"), place=url, new_marker="third")
