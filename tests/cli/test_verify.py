"""`everthread verify` over the database and the files of a server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sql.connection import Connection
from tests.cli.test_keys import everthread
from tests.conftest import StartServer
from tests.http.helpers import run_of

WAIT_S = 60.0


async def command(database_url: str, *arguments: str) -> tuple[int, str, str]:
    return await asyncio.to_thread(everthread, "verify", *arguments, EVERTHREAD_DATABASE_URL=database_url)


@pytest.mark.slow
async def test_verify(start_server: StartServer, db: Connection, database_url: str, tmp_path: Path) -> None:
    folder = ("--data-dir", str(tmp_path))
    async with start_server(data_dir=tmp_path) as client:
        run = await client.settled(await run_of(client, "Hi"))
        async with asyncio.timeout(WAIT_S):
            while not (tmp_path / "audit" / "latest.checkpoint").exists():
                await asyncio.sleep(0.01)
        code, output, report = await command(database_url, *folder)
        assert (code, output) == (0, ""), report
        assert "their signatures are valid" in report
        assert report.endswith("Verified: no faults.")
    await db.execute("UPDATE messages SET deleted = NOT deleted WHERE thread_id = $1", run["thread_id"])
    code, output, report = await command(database_url, *folder, "--stream", run["thread_id"])
    assert code == 1
    assert all(line.endswith("of messages was changed") for line in output.splitlines())
    kept = tmp_path / "kept.txt"
    kept.write_text((tmp_path / "audit" / "latest.checkpoint").read_text().replace("/1\n", "/2\n", 1))
    code, output, report = await command(database_url, *folder, "--since", "2999-01-01", "--checkpoint", str(kept))
    origin = kept.read_text().splitlines()[0]
    text = f"log: the checkpoint {kept} is of the log {origin}, which this database does not know"
    assert (code, output) == (1, text)
    assert (await command(database_url, *folder, "--checkpoint", str(tmp_path / "missing")))[0] == 1


async def test_a_database_that_is_not_migrated(db: Connection, database_url: str) -> None:
    await db.execute("DELETE FROM migrations WHERE name = (SELECT max(name) FROM migrations)")
    code, _, report = await command(database_url)
    assert code == 1
    assert "run everthread migrate first" in report
