"""`everthread export` and `everthread verify EXPORT` as an operator and an auditor use them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import pytest

from service.database import Pool
from sql.connection import Connection
from tests.cli.test_keys import everthread
from tests.exports.test_exports import FILE_ID, Installation


@pytest.mark.slow
async def test_export_and_verify(pool: Pool, db: Connection, database_url: str, tmp_path: Path) -> None:
    installation = Installation(pool, db, tmp_path)
    await installation.fill()
    data_dir, env = ("--data-dir", str(tmp_path)), {"EVERTHREAD_DATABASE_URL": database_url}
    (tmp_path / "log.vkey").write_text(f"{await installation.key()}\n")
    (tmp_path / "passphrase").write_text("correct horse\n")

    async def command(*arguments: str, **environment: str) -> tuple[int, str, str]:
        return await asyncio.to_thread(everthread, *arguments, **environment)

    place, packed = str(tmp_path / "export"), str(tmp_path / "export.tar.zst")
    code, _, report = await command("export", place, "--with-files", *data_dir, **env)
    assert (code, report.splitlines()[-1].endswith(f"events and 2 files to {place}.")) == (0, True), report
    sealed = ("--passphrase-file", str(tmp_path / "passphrase"))
    code, _, report = await command("export", packed, "--thread", "thread_file", *sealed, *data_dir, **env)
    assert code == 0, report

    # An auditor has neither the database nor the data directory.
    code, output, report = await command("verify", place, "--key", str(tmp_path / "log.vkey"))
    assert (code, output, report.splitlines()[-1]) == (0, "", "Verified: no faults."), report
    code, output, report = await command("verify", packed, *sealed)
    assert (code, output, report.splitlines()[-1]) == (0, "", "Verified: no faults."), report
    assert "No public key was given" in report

    acts = await db.fetch("SELECT type, content FROM events WHERE type LIKE 'export.%' ORDER BY version")
    assert [act["type"] for act in acts] == ["export.started", "export.ended"] * 2
    started = orjson.loads(acts[2]["content"][32:])
    assert (started["filters"], started["has_contents"]) == ({"thread": "thread_file"}, True)

    part = next((tmp_path / "export" / "blobs" / f"blob_{FILE_ID}").iterdir())
    part.write_bytes(part.read_bytes()[:-1])
    code, output, _ = await command("verify", place)
    assert (code, len(output.splitlines())) == (1, 2)
    assert f"the bytes of the file blob_{FILE_ID} are" in output

    for arguments, text in {
        ("export", place): "has an export already: choose another folder",
        ("export", packed): "exists",
        ("export", str(tmp_path / "log.vkey")): "is no folder, and its name does not end with .tar.zst",
        ("export", str(tmp_path / "new"), "--thread", "thread_none"): "There is no thread thread_none.",
        (
            "export",
            str(tmp_path / "new"),
            "--thread",
            "thread_1",
            "--project",
            "default",
        ): "Choose --project or --thread",
        ("verify", packed): "is encrypted: give the file with its passphrase",
        ("verify", str(tmp_path / "none")): "Cannot read",
        ("verify", place, "--stream", "thread_1"): "An export takes only --key, --checkpoint and --passphrase-file",
        ("verify", *sealed): "--passphrase-file belongs to an export, and none is named",
    }.items():
        code, _, report = await command(*arguments, *data_dir, **env)
        assert (code, text in report) == (1, True), report
