"""The server of a soak: `everthread serve` with workers and an embedded Postgres, on a small disk of its own."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic

import asyncpg
import psutil

from service.embedded.postgres import EmbeddedPostgres
from tests.client import KEY

WORKER = "service.cli.worker"
STOP_S = 30.0
RETRY_S = 0.2
# A server that ends sooner after its start than this did not start.
SHORT_START_S = 1.0
# MiB that stay free after `fill_disk`, so that a few writes still succeed.
LEFT_MIB = 1


class SmallDisk:
    """A file system in memory of a bounded size, if this machine allows one to be mounted; else a plain folder."""

    def __init__(self, folder: Path, mib: int) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        options = f"size={mib}m,mode=0711"
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True)
        self.is_bounded = done.returncode == 0
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Leaves almost no space."""
        free = os.statvfs(self.folder).f_bavail * os.statvfs(self.folder).f_frsize
        with self._ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, free - LEFT_MIB * 1024 * 1024))

    def drain(self) -> None:
        self._ballast.unlink(missing_ok=True)

    def unmount(self) -> None:
        if self.is_bounded:
            subprocess.run(["umount", "-l", str(self.folder)], check=False)


class Installation:
    """A data directory, and the server on it. `keep_running` starts the server again if its parent process has ended.

    Standard error of all starts goes to `log`. `settings` are variables without their prefix.
    """

    def __init__(self, disk: SmallDisk, log: Path, *, workers: int, model_url: str, settings: dict[str, str]) -> None:
        self.data_dir = disk.folder / "data"
        self.port = _free_port()
        self.starts = 0
        self.failed_starts = 0
        self._log = log
        self._workers = workers
        ours = {
            "API_KEY": KEY,
            "BUSY": "reject",
            "DATA_DIR": str(self.data_dir),
            "LOG_LEVEL": "info",
            "MODEL_BASE_URL": model_url,
            "PORT": str(self.port),
            "WORKERS": str(workers),
            **settings,
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("EVERTHREAD_")}
        self._environment = {**inherited, **{f"EVERTHREAD_{name}": value for name, value in ours.items()}}
        self._child: asyncio.subprocess.Process | None = None
        self._is_wanted = True

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def keep_running(self) -> None:
        """Starts the server, and starts it again as long as it is wanted, as a service manager does."""
        while self._is_wanted:
            began = monotonic()
            with self._log.open("ab") as log:
                self._child = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "service.cli", "serve"),
                    env=self._environment,
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=log,
                )
            self.starts += 1
            await self._child.wait()
            if monotonic() - began < SHORT_START_S:
                self.failed_starts += 1
            await asyncio.sleep(RETRY_S)

    async def stop(self) -> None:
        """Stops the server in order, or by force."""
        self._is_wanted = False
        family = self.processes()
        if self._child is not None and self._child.returncode is None:
            self._child.terminate()
            try:
                await asyncio.wait_for(self._child.wait(), STOP_S)
            except TimeoutError:
                self._child.kill()
        _, alive = await asyncio.to_thread(psutil.wait_procs, family, timeout=STOP_S)
        for process in alive:
            with suppress(psutil.Error):
                process.kill()

    async def command(self, *arguments: str) -> tuple[int, str]:
        """Runs a command of the command line over the installation. Returns its exit code and its output."""
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "service.cli", *arguments),
            env=self._environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await child.communicate()
        assert child.returncode is not None
        return child.returncode, out.decode(errors="replace")

    async def database(self) -> asyncpg.Connection[asyncpg.Record]:
        """Returns a connection to the database as the owner of its tables. Raises OSError if it does not run."""
        urls = EmbeddedPostgres(self.data_dir).running_urls()
        if urls is None:
            raise OSError("the database does not run")
        return await asyncpg.connect(urls.owner, timeout=5.0)

    # Processes.

    def parent(self) -> psutil.Process | None:
        """Returns the process of `everthread serve`, if it runs."""
        if self._child is None or self._child.returncode is not None:
            return None
        with suppress(psutil.Error):
            return psutil.Process(self._child.pid)
        return None

    def processes(self) -> list[psutil.Process]:
        """Returns the parent and all processes below it."""
        parent = self.parent()
        if parent is None:
            return []
        with suppress(psutil.Error):
            return [parent, *parent.children(recursive=True)]
        return []

    def workers(self) -> list[psutil.Process]:
        return self._select(lambda process: WORKER in process.cmdline())

    def postmaster(self) -> psutil.Process | None:
        """Returns the first process of Postgres: the one whose parent is the server."""
        parent = self.parent()
        found = self._select(_is_postgres)
        return next((process for process in found if parent is not None and _parent_id(process) == parent.pid), None)

    def backends(self) -> list[psutil.Process]:
        """Returns the processes of Postgres beside the first: connections, checkpointer, and others."""
        postmaster = self.postmaster()
        with suppress(psutil.Error):
            return [] if postmaster is None else postmaster.children()
        return []

    def helpers(self) -> list[psutil.Process]:
        """Returns the processes that embed, parse, count tokens and run code."""
        return self._select(lambda process: WORKER not in process.cmdline() and not _is_postgres(process))[1:]

    def _select(self, accepts: Callable[[psutil.Process], bool]) -> list[psutil.Process]:
        found = []
        for process in self.processes():
            with suppress(psutil.Error):
                if process.status() != psutil.STATUS_ZOMBIE and accepts(process):
                    found.append(process)
        return found


def _is_postgres(process: psutil.Process) -> bool:
    return process.name() == "postgres"


def _parent_id(process: psutil.Process) -> int:
    with suppress(psutil.Error):
        return process.ppid()
    return 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
