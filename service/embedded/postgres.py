"""The embedded Postgres: its database is created at the first start, and its process starts and stops with the server.

It listens at a Unix socket, in a folder that only its user may enter, and at no TCP port. `postgres_roles` has its
roles. The caller holds the lock of the data directory, so a Postgres that already runs on the data was left behind by a
killed server and is stopped (on Linux the kernel has already signalled it). A transaction is on disk when its commit
returns: fsync, full_page_writes and synchronous_commit are on.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from urllib.parse import quote

import asyncpg
import structlog

from service.child_process import environment, log_reason, open_log, spawn, stop, wait_for_exit
from service.embedded.leftovers import SOCKET_KIND, SOCKET_PREFIX, find_postmaster, read_lock, remove_leftovers
from service.embedded.memory import buffer_mib
from service.embedded.postgres_roles import DATABASE, OWNER_ROLE, SERVICE_ROLE, prepare_roles, write_access_files
from service.embedded.postgres_runtime import MAJOR_VERSION, Runtime, account_for_initdb, change_owner, find_runtime
from service.embedded.recovery_watch import watch_recovery
from service.errors import StartupError
from service.storage.temp_folders import TempFolder

log = structlog.get_logger()

# The connections that Postgres accepts at least.
MIN_CONNECTIONS = 100
_PORT = 5432  # part of the socket's name only
_INIT_TIMEOUT_S = 120.0
_START_TIMEOUT_S = 120.0  # recovery after a crash replays at most max_wal_size
_POLL_S = 0.01
# Seconds before Postgres is started again after it ended by itself.
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 10.0
_MAX_SOCKET_PATH = 100  # the kernel's limit is 107 bytes, 103 on macOS
_STOP = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
_SETTINGS = {
    "listen_addresses": "",
    "cluster_name": "everthread",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "jit": "off",  # the queries are small, and compiling them takes longer than running them
    "max_parallel_workers_per_gather": "0",
    # Postgres 18 hangs if one of its I/O workers is killed during a recovery.
    "io_method": "sync",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Conflicts on append are normal. Postgres would log them with their statements, but a log must not hold content.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_checkpoints": "off",
}
# A power failure may destroy a database that runs with these.
_NOT_DURABLE = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
}


@dataclass(frozen=True, slots=True)
class DatabaseUrls:
    """The URLs of the embedded database for the service, and for the owner of its tables."""

    service: str
    owner: str


class EmbeddedPostgres:
    """A Postgres on the data in `<data_dir>/postgres/<major version>`. Call `start`, and finally `stop`.

    `keep_running` starts it again whenever it has ended by itself. The server always uses `durable=True`. The tests
    use `durable=False` for temporary databases, for which Postgres does not wait for the disk. It accepts so many
    `connections`, and at least MIN_CONNECTIONS.
    """

    def __init__(self, data_dir: Path, *, durable: bool = True, connections: int = MIN_CONNECTIONS) -> None:
        self._durable = durable
        self._connections = max(MIN_CONNECTIONS, connections)
        self._home = data_dir / "postgres"
        self._cluster = self._home / str(MAJOR_VERSION)
        self._log = self._home / "postgres.log"
        self._log_start = 0  # the size of the log at the last start
        self._socket_dir = self._cluster / "run"
        self._temp_folder: TempFolder | None = None
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def exists(self) -> bool:
        """Whether the database exists already, so that a start is quick."""
        return self._cluster.is_dir()

    @property
    def urls(self) -> DatabaseUrls:
        """The URLs of the database, valid after `start`."""
        return DatabaseUrls(_url(self._socket_dir, SERVICE_ROLE), _url(self._socket_dir, OWNER_ROLE))

    def running_urls(self) -> DatabaseUrls | None:
        """Returns the URLs of the database if a live server runs it on this data, otherwise None."""
        lines = read_lock(self._cluster)
        # The fifth of the seven lines is the socket's folder. It is written when the socket exists.
        if len(lines) < 5 or find_postmaster(self._cluster, lines[0]) is None:
            return None
        elsewhere = Path(lines[4])
        folder = elsewhere if elsewhere.name.startswith(SOCKET_PREFIX) else self._cluster / "run"
        return DatabaseUrls(_url(folder, SERVICE_ROLE), _url(folder, OWNER_ROLE))

    async def start(self) -> str:
        """Starts Postgres, and returns the URL of its database for the owner. A missing database is created.

        Raises StartupError.
        """
        try:
            self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._check_version()
            runtime = find_runtime(self._cluster)
            if not self.exists:
                await self._initialise(runtime)
            await remove_leftovers(self._cluster, self._socket_dir)
            self._make_socket_dir(runtime)
            write_access_files(self._cluster, runtime.uid)
            self._child = self._spawn(runtime)
            await self._wait_until_ready(self._child)
        except (OSError, subprocess.SubprocessError) as error:
            await self._end_process()
            raise StartupError(f"The embedded Postgres cannot start: {error}") from None
        except BaseException:
            await self._end_process()
            raise
        return self.urls.owner

    async def keep_running(self) -> None:
        """Starts Postgres again, under the same URL, whenever it has ended by itself or hangs. Runs until cancelled.

        The pauses between attempts are doubled up to _LONGEST_PAUSE_S, for example while the disk is full.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(watch_recovery(lambda: self._child))
            await self._start_again()

    async def _start_again(self) -> None:
        pause = _FIRST_PAUSE_S
        while True:
            since = monotonic()
            await self.wait()
            log.error("postgres_ended", reason=log_reason(self._log, self._log_start))
            pause = _FIRST_PAUSE_S if monotonic() - since > _LONGEST_PAUSE_S else pause
            while True:
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)
                try:
                    await self.start()
                except StartupError as error:
                    log.error("postgres_restart_failed", error=str(error), again_in_s=pause)
                else:
                    break
            log.info("postgres_restarted")

    async def wait(self) -> None:
        """Waits until Postgres has ended, which happens without `stop` if it was killed or could not write."""
        while self._child is not None and not await wait_for_exit(self._child, timeout_s=3600.0):
            pass

    async def stop(self) -> None:
        """Stops Postgres, if it runs. Postgres ends its sessions and writes a checkpoint."""
        await self._end_process()
        if self._temp_folder is not None:
            self._temp_folder.remove()

    async def _end_process(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            await stop(child, _STOP)

    def _check_version(self) -> None:
        """Raises StartupError if the data was created by another major version."""
        others = [path.name for path in self._home.iterdir() if path.is_dir() and path.name.isdigit()]
        if others and not self.exists:
            raise StartupError(
                f"{self._home} was created by Postgres {max(others, key=int)}, but this release contains Postgres "
                f"{MAJOR_VERSION}: dump the database with the release that created it, then restore it"
            )

    async def _initialise(self, runtime: Runtime) -> None:
        """Makes the cluster beside its place and renames it when it is whole: a crash leaves no half of one."""
        new = self._home / "new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        uid = None if runtime.uid is None else account_for_initdb()
        if uid is not None:
            change_owner(new, uid)
        command: list[str | Path] = [runtime.bin / "initdb", "-D", runtime.cluster_path(new), "-U", OWNER_ROLE]
        command += ["--auth=peer"]
        command += ["--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8"]
        if not self._durable:
            command += ["--no-sync"]
        with open_log(self._log) as file:
            self._log_start = file.tell()
            child = spawn(command, cwd=new, env=environment(), log=file, uid=uid, death_signal=signal.SIGKILL)
        try:
            if not await wait_for_exit(child, _INIT_TIMEOUT_S) or child.returncode != 0:
                raise StartupError(
                    f"The embedded Postgres cannot create its database: {log_reason(self._log, self._log_start)}"
                )
        finally:
            await stop(child, ((signal.SIGKILL, 5.0),))
        if runtime.uid is not None:
            change_owner(new, runtime.uid)
        new.rename(self._cluster)

    def _make_socket_dir(self, runtime: Runtime) -> None:
        """Creates the socket's folder: in the cluster if the path is short enough, otherwise in the temporary
        folder."""
        socket = self._socket_dir / f".s.PGSQL.{_PORT}"
        is_too_long = len(os.fsencode(socket)) > _MAX_SOCKET_PATH
        if is_too_long and self._temp_folder is None:
            self._temp_folder = TempFolder(SOCKET_KIND)
            self._socket_dir = self._temp_folder.path
        self._socket_dir.mkdir(mode=0o700, exist_ok=True)
        if runtime.uid is not None:
            change_owner(self._socket_dir, runtime.uid)

    def _spawn(self, runtime: Runtime) -> subprocess.Popen[bytes]:
        cluster = runtime.cluster_path(self._cluster)
        is_inside = self._socket_dir.parent == self._cluster
        command: list[str | Path] = [runtime.bin / "postgres", "-D", cluster]
        command += ["-k", cluster / "run" if is_inside else self._socket_dir, "-p", str(_PORT)]
        sizes = {"shared_buffers": f"{buffer_mib()}MB", "max_connections": str(self._connections)}
        settings = {**_SETTINGS, **sizes, **({} if self._durable else _NOT_DURABLE)}
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with open_log(self._log) as file:
            self._log_start = file.tell()
            return spawn(
                command,
                cwd=self._cluster,
                env=environment(),
                log=file,
                uid=runtime.uid,
                death_signal=signal.SIGINT,  # a fast, clean shutdown
            )

    async def _wait_until_ready(self, child: subprocess.Popen[bytes]) -> None:
        """Waits until the database answers. Creates it and its roles if they are missing."""
        deadline = asyncio.get_running_loop().time() + _START_TIMEOUT_S
        while asyncio.get_running_loop().time() < deadline:
            if child.poll() is not None:
                raise StartupError(f"The embedded Postgres stopped at once: {log_reason(self._log, self._log_start)}")
            try:
                return await prepare_roles(self._socket_dir)
            except (OSError, TimeoutError, asyncpg.CannotConnectNowError):
                await asyncio.sleep(_POLL_S)
            except asyncpg.PostgresError as error:
                raise StartupError(f"The embedded Postgres cannot be prepared: {error}") from error
        raise StartupError(f"The embedded Postgres is not ready after {_START_TIMEOUT_S:.0f} s; see {self._log}")


def _url(socket_dir: Path, role: str) -> str:
    return f"postgresql://{role}@/{DATABASE}?host={quote(str(socket_dir), safe='/')}"
