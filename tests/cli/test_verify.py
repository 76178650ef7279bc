"""`everthread verify` over the database and the files of a server."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import pytest

from service.audit.attesters import AttestationCollector
from service.audit.checkpoint_signer import KEEP_EVERY_S
from service.audit.witnesses import open_witnesses
from service.database import Pool
from sql.connection import Connection
from tests.audit.sealing import grow
from tests.audit.test_checkpoint_signer import Process
from tests.audit.witness_server import WitnessServer, running
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


@pytest.mark.slow
async def test_kept_checkpoints_and_witnesses(pool: Pool, db: Connection, database_url: str, tmp_path: Path) -> None:
    folder = ("--data-dir", str(tmp_path), "--no-files")
    process = Process(pool, tmp_path / "audit")
    async with running(WitnessServer()) as witness:
        for _ in range(3):
            size = await grow(pool, db)
            await process.scan()
            process.clock.skip(KEEP_EVERY_S + 1)
        witness.know((tmp_path / "audit" / "log.vkey").read_text())
        (asked,) = open_witnesses(witness.setting, clock=process.clock)
        await AttestationCollector(pool, [asked], clock=process.clock).scan(asked)
    code, output, report = await command(database_url, *folder, "--witnessed", "1", "--witness", witness.vkey)
    assert (code, output) == (0, ""), report
    assert f"The newest checkpoint that enough witnesses cosigned has {size} events." in report
    assert "7 checkpoints were compared with the log; their signatures are valid." in report
    code, _, report = await command(database_url, *folder, "--witnessed", "2", "--witness", witness.vkey)
    assert (code, "--witnessed 2 needs the keys of so many witnesses, and 1 are known" in report) == (1, True)
    log_key = (tmp_path / "audit" / "log.vkey").read_text().strip()
    assert "is one of a log" in (await command(database_url, *folder, "--witness", log_key))[2]
    # A checkpoint in the file of a day is another one than the log's, or has no valid signature.
    (day,) = (tmp_path / "audit" / "checkpoints").iterdir()
    kept = day.read_text()
    day.write_text(kept.replace(kept.split("\n")[2], base64.b64encode(bytes(32)).decode(), 1))
    code, output, _ = await command(database_url, *folder)
    assert code == 1
    assert f"it has another root than a checkpoint in {day}" in output
    assert f"log: a checkpoint in {day} is not valid: the signature of everthread/" in output
    day.write_text(kept[:-40])
    code, output, _ = await command(database_url, *folder)
    assert code == 1
    assert f"log: a checkpoint in {day} was changed, or only a part of it was written: " in output


async def test_a_database_that_is_not_migrated(db: Connection, database_url: str) -> None:
    await db.execute("DELETE FROM migrations WHERE name = (SELECT max(name) FROM migrations)")
    code, _, report = await command(database_url)
    assert code == 1
    assert "run everthread migrate first" in report
