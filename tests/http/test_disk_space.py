"""GET /healthz reports a full disk. The disks are real: file systems in memory, a few MiB large."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from service.telemetry import health
from service.telemetry.disk_space import DiskSpace
from tests.client import Client
from tests.conftest import StartServer
from tests.machine import unavailable

MIB = 1024 * 1024
MountDisk = Callable[..., Path]


@contextmanager
def _mounted(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True)
    if mount.returncode != 0:
        unavailable(f"no file system can be mounted: {mount.stderr.decode()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def mount_disk(tmp_path: Path) -> Iterator[MountDisk]:
    """Mounts a file system of `size` MiB at a folder of the test."""
    with ExitStack() as stack:

        def mount(name: str, *, size: int, files: int = 0) -> Path:
            return stack.enter_context(_mounted(tmp_path / name, f"size={size}m,nr_inodes={files}"))

        yield mount


async def _health(client: Client) -> tuple[int, dict[str, Any]]:
    async with client.session.get(client.base_url.removesuffix("/v1") + "/healthz") as response:
        return response.status, await response.json()


@pytest.mark.parametrize("held", ["data_dir", "blobs", "postgres"])
async def test_full_disk(
    held: str, start_server: StartServer, mount_disk: MountDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "CACHE_S", 0.0)
    monkeypatch.setattr(health, "MAX_AGE_S", 0.0)
    home = tmp_path / "home" if held == "data_dir" else tmp_path
    disk = mount_disk("home" if held == "data_dir" else held, size=16)
    async with start_server(data_dir=home, min_free_disk_mb=8) as client:
        status, parts = await _health(client)
        assert (status, parts["status"], parts["disk"]) == (200, "ok", "ok")

        (disk / "other").write_bytes(bytes(12 * MIB))
        status, parts = await _health(client)
        assert (status, parts["status"]) == (503, "unavailable")
        assert "full or nearly full: " in parts["disk"]
        assert str(disk) not in parts["disk"]  # anybody may ask

        (disk / "other").unlink()
        assert (await _health(client))[0] == 200


async def test_disk_without_free_inodes(mount_disk: MountDisk) -> None:
    disk = mount_disk("disk", size=16, files=1500)
    space = DiskSpace({"the data directory": disk}, min_free=MIB)
    assert await space.check() is None
    for number in range(600):
        (disk / str(number)).touch()
    assert "nearly full: it can hold" in (await space.check() or "")


async def test_folder_that_does_not_exist(tmp_path: Path) -> None:
    """An object store or an external database leave a folder out."""
    assert await DiskSpace({"the embedded Postgres": tmp_path / "postgres"}, min_free=0).check() is None
