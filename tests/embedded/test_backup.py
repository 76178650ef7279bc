"""The recipes of docs/operations.md, "Backup and restore", run word for word against an embedded Postgres."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from events.actors import CommandLineActor
from events.envelope import Origin
from events.project import DEFAULT_PROJECT, CreateProject
from events.streams import PROJECT
from projections import projects, rebuild
from service.database import Pool, open_pool
from service.embedded.postgres import EmbeddedPostgres
from service.embedded.postgres_runtime import find_runtime
from service.feed import Feed
from service.files.blob_marker import check_blob_marker
from service.migrations import prepare_database
from service.storage.folder import FolderBlobs
from service.system import RandomIds, SystemClock
from service.writer import Writer

pytestmark = pytest.mark.embedded

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
RECIPE_TIMEOUT_S = 120
NAMES = ("before", "the backup")


def recipe(heading: str) -> list[str]:
    """Returns the shell blocks under a heading of the document."""
    section = re.split(r"^#+ ", DOCUMENT.read_text().split(f"\n### {heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)
    return re.findall(r"^```sh\n(.*?)^```", section[0], re.MULTILINE | re.DOTALL)


def run_recipe(text: str, folder: Path, **variables: Path) -> None:
    """Runs shell commands in `folder`; fails the test if one of them fails."""
    preamble = "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in variables.items())
    done = subprocess.run(
        ["bash", "-eu", "-c", preamble + text], cwd=folder, capture_output=True, text=True, timeout=RECIPE_TIMEOUT_S
    )
    assert done.returncode == 0, done.stderr


@asynccontextmanager
async def embedded_database(data_dir: Path, *, durable: bool = False) -> AsyncIterator[Pool]:
    """A migrated embedded database over a data directory; with `durable` as a live server runs it."""
    postgres = EmbeddedPostgres(data_dir, durable=durable)
    url = await postgres.start()
    await prepare_database(url)
    pool = await open_pool(url)
    try:
        yield pool
    finally:
        pool.terminate()
        await postgres.stop()


async def check_marker(pool: Pool, data_dir: Path) -> None:
    """Does with the marker of the blob folder what the start of a server does."""
    folder = data_dir / "blobs"
    await check_blob_marker(pool, FolderBlobs(folder), place=str(folder), new_marker=RandomIds().token(16))


async def create_project(pool: Pool, name: str) -> None:
    project_id, writer = RandomIds().new("proj"), Writer(pool, Feed(), clock=SystemClock(), ids=RandomIds())
    await writer.write(PROJECT, Origin(project_id, CommandLineActor()), project_id, CreateProject(name))


async def project_names(pool: Pool) -> set[str]:
    """Returns the names of all projects, after a check that the log and the views agree."""
    async with pool.acquire() as db:
        async for stream_id, _ in rebuild.list_streams(db):
            assert await rebuild.verify(db, stream_id) == []
        found = [await projects.find(db, name) for name in (*NAMES, "after")]
    return {project.name for group in found for project in group if project.id != DEFAULT_PROJECT}


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder with a short path: if it is longer, the embedded Postgres has its socket elsewhere (limit 107 bytes)."""
    with tempfile.TemporaryDirectory(prefix="backup-") as folder:
        Path(folder).chmod(0o711)  # Postgres has an account of its own if we are root
        yield Path(folder)


@pytest.fixture
async def data_dir(tmp_path: Path) -> Path:
    """A data directory with files, a key and no database yet."""
    data_dir = tmp_path / "data"
    (data_dir / "blobs").mkdir(parents=True)
    (data_dir / "blobs" / "one").write_bytes(b"kept bytes")
    (data_dir / "api_key").write_text("et-key\n")
    return data_dir


async def test_the_backup_of_a_live_database_is_a_data_directory(tmp_path: Path, data_dir: Path) -> None:
    backup, restored = tmp_path / "backup", tmp_path / "restored"
    programs = find_runtime(data_dir / "postgres" / "18").bin
    (back_up,) = recipe("Back up the embedded database")
    (restore,) = recipe("Restore the embedded database")
    async with embedded_database(data_dir, durable=True) as pool:
        await check_marker(pool, data_dir)
        for name in NAMES:
            await create_project(pool, name)
        run_recipe(back_up, tmp_path, DATA=data_dir, BACKUP=backup, PG=programs)
        await create_project(pool, "after")
        run_recipe(restore, tmp_path, DATA=restored, BACKUP=backup)
        async with embedded_database(restored) as pool_of_restored:
            assert await project_names(pool_of_restored) == set(NAMES)
            await check_marker(pool_of_restored, restored)
            await create_project(pool_of_restored, "after")
    assert (restored / "blobs" / "one").read_bytes() == b"kept bytes"
    assert (restored / "api_key").read_text() == "et-key\n"


async def test_a_dump_is_loaded_over_the_tables_of_a_new_database(tmp_path: Path, data_dir: Path) -> None:
    loaded = tmp_path / "new"
    loaded.mkdir()
    programs = find_runtime(data_dir / "postgres" / "18").bin
    dump, load = recipe("Dump and load")
    async with embedded_database(data_dir) as pool:
        await check_marker(pool, data_dir)
        for name in NAMES:
            await create_project(pool, name)
        run_recipe(dump, tmp_path, DATA=data_dir, PG=programs)
    async with embedded_database(loaded) as new_pool:
        await check_marker(new_pool, loaded)
        run_recipe(load, tmp_path, NEW_DATA=loaded, PG=programs)
    shutil.copytree(data_dir / "blobs", loaded / "blobs", dirs_exist_ok=True)
    async with embedded_database(loaded) as pool:
        await check_marker(pool, loaded)
        assert await project_names(pool) == set(NAMES)
        await create_project(pool, "after")
