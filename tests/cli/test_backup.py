"""`everthread backup` of a data directory, and `everthread restore` of it into another one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.test_keys import everthread
from tests.embedded.test_backup import NAMES, check_marker, create_project, embedded_database, project_names

pytestmark = [pytest.mark.slow, pytest.mark.embedded]


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder with a short path, for the sockets of Postgres."""
    with tempfile.TemporaryDirectory(prefix="backup-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


async def test_a_restored_backup_serves_the_same(home: Path) -> None:
    data, folder, restored = home / "data", home / "backup", home / "restored"
    (data / "blobs").mkdir(parents=True)
    (data / "blobs" / "one").write_bytes(b"kept bytes")
    async with embedded_database(data) as pool:
        await check_marker(pool, data)
        for name in NAMES:
            await create_project(pool, name)
        async with pool.acquire() as db:
            await db.execute(
                "INSERT INTO thread_words (thread_id, message_id, part, project_id, created_at, words)"
                " VALUES ('thread_1', 'msg_1', 0, 'p', now(), 'plainword')"
            )
    code, output, error = everthread("backup", str(folder), "--data-dir", str(data))
    assert (code, output) == (0, f"Backed up the database and 2 files to {folder}."), error
    dump = folder / "database.dump"
    whole = dump.read_bytes()
    dump.write_bytes(whole[:-1])
    code, _, error = everthread("restore", str(folder), "--data-dir", str(restored))
    assert (code, error) == (1, f"everthread: {dump} is missing or was changed")
    dump.write_bytes(whole)
    code, _, error = everthread("restore", str(folder), "--data-dir", str(restored))
    assert code == 0, error
    async with embedded_database(restored) as pool:
        await check_marker(pool, restored)
        assert await project_names(pool) == set(NAMES)
        async with pool.acquire() as db:
            assert await db.fetchval("SELECT count(*) FROM thread_words") == 0  # they are plain
    assert (restored / "blobs" / "one").read_bytes() == b"kept bytes"
    code, _, error = everthread("restore", str(folder), "--data-dir", str(restored))
    assert (code, error) == (1, f"everthread: {restored} has a database already: name an empty data directory.")
