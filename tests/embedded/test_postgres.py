"""The real embedded Postgres: it is created, started, killed and started again, and no permissions change."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import asyncpg
import psutil
import pytest
import structlog

from service.embedded import postgres as postgres_module
from service.embedded import postgres_runtime, recovery_watch
from service.embedded.postgres import EmbeddedPostgres
from service.errors import StartupError
from tests.helper_ids import status_of
from tests.machine import unavailable

pytestmark = pytest.mark.embedded


def permissions(path: Path) -> dict[Path, tuple[int, int, int]]:
    """Returns the mode and the owner of every folder above `path` and above the programs."""
    runtime = postgres_runtime.find_runtime(path / "none")
    folders = [path, *path.parents, runtime.bin, *runtime.bin.parents]
    return {folder: (stat.S_IMODE(s.st_mode), s.st_uid, s.st_gid) for folder in folders for s in [folder.stat()]}


def postmaster(data_dir: Path) -> psutil.Process:
    return psutil.Process(int((data_dir / "postgres" / "18" / "postmaster.pid").read_text().splitlines()[0]))


async def query(url: str, sql: str) -> object:
    connection = await asyncpg.connect(url, timeout=60)
    try:
        return await connection.fetchval(sql, timeout=60)
    finally:
        await connection.close(timeout=60)


async def test_first_and_second_start(tmp_path: Path) -> None:
    before = permissions(tmp_path)
    postgres = EmbeddedPostgres(tmp_path)
    assert not postgres.exists
    url = await postgres.start()
    process = postmaster(tmp_path)
    assert process.uids().real != 0, "Postgres never runs as root"
    assert status_of(process.pid, "NoNewPrivs") == "1"
    await query(url, "create extension vector")
    assert await query(url, "select array_agg(n) from (select '[1,2]'::vector <-> '[1,3]' as n) x") == [1.0]
    for name, value in (("fsync", "on"), ("synchronous_commit", "on"), ("full_page_writes", "on")):
        assert await query(url, f"show {name}") == value
    assert await query(url, "show server_encoding") == "UTF8"
    assert await query(url, "show listen_addresses") == ""
    await query(url, "create table kept (n int)")
    await postgres.stop()
    assert not process.is_running()
    again = EmbeddedPostgres(tmp_path)
    assert again.exists
    assert await query(await again.start(), "select count(*) from kept") == 0
    await again.stop()
    assert permissions(tmp_path) == before
    assert stat.S_IMODE((tmp_path / "postgres").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "postgres" / "18").stat().st_mode) == 0o700


async def test_its_death_is_noticed_and_loses_no_data(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path)
    url = await postgres.start()
    await query(url, "create table kept as select 1 as n")
    postmaster(tmp_path).kill()
    await postgres.wait()
    await postgres.stop()
    again = EmbeddedPostgres(tmp_path)
    assert await query(await again.start(), "select n from kept") == 1
    await again.stop()


ORPHANING = """
import asyncio, os, pathlib, sys
from service import child_process as process
process._prctl = None if sys.argv[2] == "orphan" else process._prctl
from service.embedded.postgres import EmbeddedPostgres
async def main():
    await EmbeddedPostgres(pathlib.Path(sys.argv[1])).start()
    os.kill(os.getpid(), 9)
asyncio.run(main())
"""


@pytest.mark.parametrize("kind", ["orphan", "signalled by the kernel"])
async def test_the_postgres_of_a_killed_server_is_stopped(tmp_path: Path, kind: str) -> None:
    """This also holds if the kernel does not signal Postgres when the server dies, as on macOS."""
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", ORPHANING, str(tmp_path), kind]
    killed = subprocess.run(command, cwd=root, timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    left = postmaster(tmp_path) if kind == "orphan" else None
    postgres = EmbeddedPostgres(tmp_path)
    assert await query(await postgres.start(), "select 1") == 1
    assert left is None or not left.is_running() or left.status() == psutil.STATUS_ZOMBIE
    await postgres.stop()


async def test_the_files_of_a_zombie_do_not_stop_a_start(tmp_path: Path) -> None:
    """The killed postmaster answers to signals until its parent, here this process, reaps it."""
    first = EmbeddedPostgres(tmp_path)
    await first.start()
    killed = postmaster(tmp_path)
    killed.kill()
    await asyncio.to_thread(os.waitid, os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT)
    assert killed.status() == psutil.STATUS_ZOMBIE
    again = EmbeddedPostgres(tmp_path)
    assert await query(await again.start(), "select 1") == 1
    await again.stop()
    await first.stop()  # reaps it


async def test_the_error_is_the_fatal_line_of_this_start(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path)
    await postgres.start()
    await postgres.stop()
    log = tmp_path / "postgres" / "postgres.log"
    log.write_text("FATAL:  of another start\n")
    config = tmp_path / "postgres" / "18" / "postgresql.conf"
    good = config.read_text()
    config.write_text("max_connections = none\n")
    with pytest.raises(StartupError, match=r"FATAL:  configuration file .* contains errors"):
        await EmbeddedPostgres(tmp_path).start()
    config.write_text(good)
    again = EmbeddedPostgres(tmp_path)
    await again.start()
    await again.stop()
    assert "of another start" in log.read_text(), "logs are appended"


class CountedPostgres(EmbeddedPostgres):
    """Sets `started` after each start."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir, durable=False)
        self.started = asyncio.Event()

    async def start(self) -> str:
        url = await super().start()
        self.started.set()
        return url


@pytest.mark.parametrize("is_deep", [False, True])
async def test_it_is_started_again_under_the_same_url(
    tmp_path: Path, is_deep: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the socket is in a temporary folder."""
    monkeypatch.setattr(postgres_module, "_FIRST_PAUSE_S", 0.01)
    home = tmp_path / ("d" * 60) / ("e" * 60) if is_deep else tmp_path
    home.mkdir(parents=True, exist_ok=True)
    postgres = CountedPostgres(home)
    url = await postgres.start()
    keeping = asyncio.create_task(postgres.keep_running())
    try:
        for _ in range(2):
            postgres.started.clear()
            postmaster(home).kill()
            async with asyncio.timeout(60):
                await postgres.started.wait()
            assert postgres.urls.owner == url
            assert await query(url, "select 1") == 1
    finally:
        keeping.cancel()
        await asyncio.wait({keeping})
        await postgres.stop()


async def test_a_recovery_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL 18 waits without an end if the process of a recovery is killed at its begin.

    Here the first process is stopped in the middle of a crash, and has none that serves or recovers either.
    """
    monkeypatch.setattr(postgres_module, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(recovery_watch, "CHECK_EVERY_S", 0.05)
    postgres = CountedPostgres(tmp_path)
    url = await postgres.start()
    postgres.started.clear()
    keeping = asyncio.create_task(postgres.keep_running())
    try:
        with structlog.testing.capture_logs() as logs:
            hanging = postmaster(tmp_path)
            hanging.suspend()
            for process in hanging.children():
                process.kill()
            async with asyncio.timeout(60):
                await postgres.started.wait()
        assert "postgres_recovery_hangs" in [entry["event"] for entry in logs]
        assert await query(url, "select 1") == 1
        assert postmaster(tmp_path).pid != hanging.pid
        assert recovery_watch.is_at_work(postmaster(tmp_path).pid)
    finally:
        keeping.cancel()
        await asyncio.wait({keeping})
        await postgres.stop()


async def test_a_start_that_fails_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a full disk, where Postgres ends with a PANIC at each start."""
    monkeypatch.setattr(postgres_module, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(postgres_module, "_LONGEST_PAUSE_S", 0.02)
    postgres = CountedPostgres(tmp_path)
    url = await postgres.start()
    control = tmp_path / "postgres" / "18" / "global" / "pg_control"
    postmaster(tmp_path).kill()
    await postgres.wait()
    control.rename(control.with_name("away"))
    postgres.started.clear()
    with structlog.testing.capture_logs() as logs:
        keeping = asyncio.create_task(postgres.keep_running())
        while not any(entry["event"] == "postgres_restart_failed" for entry in logs):
            await asyncio.sleep(0)
        control.with_name("away").rename(control)
        async with asyncio.timeout(60):
            await postgres.started.wait()
    assert await query(url, "select 1") == 1
    keeping.cancel()
    await asyncio.wait({keeping})
    await postgres.stop()


async def test_a_lock_file_with_the_id_of_another_program(tmp_path: Path) -> None:
    """This happens in a container that is restarted, where process ids recur."""
    postgres = EmbeddedPostgres(tmp_path)
    await postgres.start()
    lock = tmp_path / "postgres" / "18" / "postmaster.pid"
    lines = lock.read_text()
    await postgres.stop()
    other_program = subprocess.Popen(["sleep", "60"])
    try:
        lock.write_text(lines.replace(lines.splitlines()[0], str(other_program.pid), 1))
        again = EmbeddedPostgres(tmp_path)
        assert await query(await again.start(), "select 1") == 1
        await again.stop()
        assert other_program.poll() is None
    finally:
        other_program.kill()
        other_program.wait(5)


async def test_a_path_too_long_for_a_socket(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    postgres = EmbeddedPostgres(deep)
    url = await postgres.start()
    socket_dir = Path(url.partition("host=")[2])
    assert stat.S_IMODE(socket_dir.stat().st_mode) == 0o700
    assert await query(url, "select 1") == 1
    await postgres.stop()
    assert not socket_dir.exists()


async def test_data_of_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "postgres" / "17").mkdir(parents=True)
    with pytest.raises(StartupError, match=r"created by Postgres 17"):
        await EmbeddedPostgres(tmp_path).start()


async def test_inaccessible_programs_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        unavailable("only root copies the programs")
    monkeypatch.setattr(postgres_runtime, "_CACHE", Path("/var/cache") / f"everthread-test-{os.getpid()}")
    monkeypatch.setattr(postgres_runtime, "_is_accessible_to_all", lambda program: False)
    try:
        postgres = EmbeddedPostgres(tmp_path)
        url = await postgres.start()
        assert postmaster(tmp_path).exe().startswith(str(postgres_runtime._CACHE))
        await query(url, "create extension vector")
        await postgres.stop()
    finally:
        subprocess.run(["rm", "-rf", str(postgres_runtime._CACHE)], check=True, timeout=20)
