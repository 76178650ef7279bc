"""Temporary folders and unfinished bytes of killed processes are swept; those of live ones are kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.storage.folder import FolderBlobs
from service.storage.temp_folders import MIN_AGE_S, TempFolder, sweep_temp_folders
from tests.embedded.server_process import ROOT, FakeServerProcess

StartHolder = Callable[[str], subprocess.Popen[str]]

HOLD_FOLDER = """
import sys, time
from service.storage.temp_folders import TempFolder
print(TempFolder("test").path, flush=True)
time.sleep(600)
"""
HOLD_BLOB = """
import asyncio, sys
from pathlib import Path
from service.storage.folder import FolderBlobs

async def pieces():
    yield bytes(2**20)
    print("began", flush=True)
    await asyncio.sleep(600)

asyncio.run(FolderBlobs(Path({folder!r})).write({key!r}, pieces()))
"""


@pytest.fixture
def start_holder() -> Iterator[StartHolder]:
    """Starts a process with this code, which prints a line when it holds something. The fixture kills it."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str) -> subprocess.Popen[str]:
        process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(autouse=True)
def temporary(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of temporary files in the test and its processes. The account of Postgres may enter it."""
    tmp_path_factory.getbasetemp()  # pytest creates it at its first use, and it is not of this test alone
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", None)
        yield Path(folder)


def _line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.slow
def test_folders_of_killed_processes(start_holder: StartHolder, temporary: Path) -> None:
    live, killed = start_holder(HOLD_FOLDER), start_holder(HOLD_FOLDER)
    kept, left = Path(_line_of(live)), Path(_line_of(killed))
    (left / "deeper").mkdir()
    (left / "deeper" / "file").touch()
    own, foreign, new = TempFolder("test"), temporary / "other-program", temporary / "everthread-new"
    foreign.mkdir()
    new.mkdir()  # a folder that is not locked yet

    assert sweep_temp_folders() == 0
    killed.kill()
    killed.wait()
    assert sweep_temp_folders() == 1
    assert sorted(temporary.iterdir()) == sorted([kept, own.path, foreign, new])
    own.remove()
    assert sweep_temp_folders() == 0
    assert not own.path.exists()


def test_folder_that_is_a_link(temporary: Path, tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "lock").touch()
    (temporary / "everthread-link").symlink_to(tmp_path / "victim")
    assert sweep_temp_folders() == 0
    assert (tmp_path / "victim" / "lock").exists()


@pytest.mark.slow
async def test_unfinished_bytes_of_killed_processes(start_holder: StartHolder, tmp_path: Path) -> None:
    folder = tmp_path / "blobs"
    blobs = FolderBlobs(folder)
    live = start_holder(HOLD_BLOB.format(folder=str(folder), key="live"))
    killed = start_holder(HOLD_BLOB.format(folder=str(folder), key="killed"))
    assert (_line_of(live), _line_of(killed)) == ("began", "began")
    (folder / "file-1").write_bytes(b"finished")

    assert await blobs.remove_unfinished() == 0
    killed.kill()
    killed.wait()
    assert await blobs.remove_unfinished() == 1
    assert sorted(path.name for path in folder.iterdir()) == ["file-1", "live.unfinished"]


@pytest.mark.slow
@pytest.mark.embedded
def test_start_after_a_kill(start_holder: StartHolder, temporary: Path, tmp_path: Path) -> None:
    """The path of the data directory is too long for a socket, so Postgres gets a temporary folder."""
    home = tmp_path / ("long" * 30)
    arguments = ["--data-dir", str(home), "--model-base-url", "http://127.0.0.1:9/v1"]
    with FakeServerProcess(arguments) as server:
        server.wait_until_ready()
        [left] = temporary.glob("everthread-pg-*")
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
    assert left.exists()
    with FakeServerProcess(arguments) as server:
        server.wait_until_ready()
        [held] = temporary.glob("everthread-*")
        assert held != left
        assert server.end() == 0
    assert list(temporary.glob("everthread-*")) == []


def test_empty_folders_that_have_no_lock(temporary: Path) -> None:
    """A server that was killed while it deleted its folder leaves it empty."""
    left, new, other = (temporary / f"everthread-pg-{name}" for name in ("left", "new", "other"))
    for folder in (left, new, other):
        folder.mkdir()
    (other / "file").write_text("")
    link = temporary / "everthread-pg-link"
    link.symlink_to(temporary)
    now = temporary.stat().st_mtime
    for folder in (left, other, link):
        os.utime(folder, (now - 2 * MIN_AGE_S,) * 2, follow_symlinks=False)
    assert sweep_temp_folders() == 1
    assert sorted(each.name for each in temporary.iterdir()) == [link.name, new.name, other.name]
