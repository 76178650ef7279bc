"""`everthread import-openai` and `import-azure`: its report, a dry run, a repetition, and what it cannot read."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from service.database import Pool
from tests.cli.test_keys import everthread
from tests.imports.test_collection import OBJECTS, write

pytestmark = pytest.mark.slow


async def command(database_url: str, folder: Path, *arguments: str) -> tuple[int, str, str]:
    return await asyncio.to_thread(
        everthread,
        *("import-openai", *arguments, "--data-dir", str(folder)),
        EVERTHREAD_DATABASE_URL=database_url,
    )


async def test_an_import_its_dry_run_and_its_repetition(database_url: str, pool: Pool, tmp_path: Path) -> None:
    saved = write(tmp_path / "saved" / "thread.json", [*OBJECTS, {"id": "x"}])
    home = tmp_path / "home"
    for arguments, heading, row in (
        (("--dry-run",), "Would be imported", ["thread", "1", "0"]),
        ((), "Imported", ["thread", "1", "0"]),
        ((), "Imported", ["thread", "0", "1"]),
    ):
        code, output, _ = await command(database_url, home, str(saved.parent), *arguments)
        assert code == 0
        assert heading in output
        assert row in [line.strip("│ ").replace("│", " ").split() for line in output.splitlines()]
        assert "Not imported: 1\n  thread.json[6]: it is no object of the API" in output
    assert await pool.fetchval("SELECT count(*) FROM messages") == 3


async def test_control_characters_of_a_name_reach_no_terminal(database_url: str, tmp_path: Path) -> None:
    saved = write(tmp_path / "saved" / "a\x1b[31m.json", b"nonsense")
    _, output, _ = await command(database_url, tmp_path / "home", str(saved.parent))
    assert "\x1b[31m" not in output
    assert "\\x1b[31m.json: it is not JSON" in output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--project", "Nowhere"), "There is no project 'Nowhere': see everthread projects list."),
        (("--source", ""), "--source: write 1 to 256 characters"),
    ],
)
async def test_errors(database_url: str, tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    saved = write(tmp_path / "thread.json", OBJECTS)
    assert await command(database_url, tmp_path / "home", str(saved), *arguments) == (1, "", f"everthread: {says}")


async def test_a_file_of_threads_with_another_line(database_url: str, tmp_path: Path) -> None:
    threads = write(tmp_path / "threads.txt", b"thread_1\n\n../x\n")
    arguments = (
        "--threads",
        str(threads),
        "--folder",
        str(tmp_path),
        "--endpoint",
        "https://127.0.0.1:1",
        "--key",
        "k",
    )
    found = await asyncio.to_thread(everthread, "import-azure", *arguments, EVERTHREAD_DATABASE_URL=database_url)
    assert found == (1, "", "everthread: --threads: '../x' is no id of a thread")
