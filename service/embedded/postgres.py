"""The embedded Postgres: its database is created at the first start, and its process starts and stops with the server.

It listens at a Unix socket, in a folder that only its user may enter, and at no TCP port. The caller holds the lock of
the data directory, so a Postgres that already runs on the data was left behind by a killed server and is stopped (on
Linux the kernel has already signalled it). A transaction is on disk when its commit returns: fsync, full_page_writes
and synchronous_commit are on.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import quote

import asyncpg
import psutil

from service.child_process import environment, last_line, spawn, stop, wait_for_exit
from service.embedded.memory import buffer_mib
from service.embedded.postgres_runtime import MAJOR_VERSION, Runtime, account_for_initdb, change_owner, find_runtime
from service.errors import StartupError

_DATABASE = _USER = "everthread"
_PORT = 5432  # part of the socket's name only
_INIT_TIMEOUT_S = 120.0
_START_TIMEOUT_S = 120.0  # recovery after a crash replays at most max_wal_size
_CONNECT_TIMEOUT_S = 5.0
_POLL_S = 0.01
_LEFTOVER_TIMEOUT_S = 20.0
_MAX_SOCKET_PATH = 100  # the kernel's limit is 107 bytes, 103 on macOS
_SOCKET_PREFIX = "everthread-pg-"
_STOP = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
_SETTINGS = {
    "listen_addresses": "",
    "cluster_name": "everthread",
    "max_connections": "100",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "jit": "off",  # the queries are small, and compiling them takes longer than running them
    "max_parallel_workers_per_gather": "0",
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


class EmbeddedPostgres:
    """A Postgres on the data in `<data_dir>/postgres/<major version>`. Call `start` once, then `stop`.

    The server always uses `durable=True`. The tests use `durable=False` for temporary databases, for which Postgres
    does not wait for the disk.
    """

    def __init__(self, data_dir: Path, *, durable: bool = True) -> None:
        self._durable = durable
        self._home = data_dir / "postgres"
        self._cluster = self._home / str(MAJOR_VERSION)
        self._log = self._home / "postgres.log"
        self._socket_dir = self._cluster / "run"
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def exists(self) -> bool:
        """Whether the database exists already, so that a start is quick."""
        return self._cluster.is_dir()

    @property
    def url(self) -> str:
        """The URL of the database, valid after `start`."""
        return _url(self._socket_dir)

    def running_url(self) -> str | None:
        """Returns the URL of the database if a live server runs it on this data, otherwise None."""
        lock = self._cluster / "postmaster.pid"
        lines = lock.read_text().splitlines() if lock.exists() else []
        # The fifth of the seven lines is the socket's folder. It is written when the socket exists.
        if len(lines) < 5 or _find_postgres(self._cluster, lines[0]) is None:
            return None
        elsewhere = Path(lines[4])
        folder = elsewhere if elsewhere.name.startswith(_SOCKET_PREFIX) else self._cluster / "run"
        return _url(folder)

    async def start(self) -> str:
        """Starts Postgres, creating the database if there is none, and returns its URL. Raises StartupError."""
        try:
            self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._check_version()
            runtime = find_runtime(self._cluster)
            if not self.exists:
                await self._initialise(runtime)
            await _stop_leftover(self._cluster)
            self._make_socket_dir(runtime)
            self._child = self._spawn(runtime)
            await self._wait_until_ready(runtime, self._child)
        except (OSError, subprocess.SubprocessError) as error:
            await self.stop()
            raise StartupError(f"The embedded Postgres cannot start: {error}") from None
        except BaseException:
            await self.stop()
            raise
        return self.url

    async def wait(self) -> None:
        """Waits until Postgres has ended, which without `stop` happens only by an accident."""
        while self._child is not None and not await wait_for_exit(self._child, timeout_s=3600.0):
            pass

    async def stop(self) -> None:
        """Stops Postgres, if it runs. Postgres ends its sessions and writes a checkpoint."""
        child, self._child = self._child, None
        if child is not None:
            await stop(child, _STOP)
        if self._socket_dir.name.startswith(_SOCKET_PREFIX):
            shutil.rmtree(self._socket_dir, ignore_errors=True)

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
        command: list[str | Path] = [runtime.bin / "initdb", "-D", runtime.cluster_path(new), "-U", _USER]
        command += ["--auth=trust"]
        command += ["--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8"]
        if not self._durable:
            command += ["--no-sync"]
        with self._log.open("wb") as log:
            child = spawn(command, cwd=new, env=environment(), log=log, uid=uid, death_signal=signal.SIGKILL)
        try:
            if not await wait_for_exit(child, _INIT_TIMEOUT_S) or child.returncode != 0:
                raise StartupError(f"The embedded Postgres cannot create its database: {last_line(self._log)}")
        finally:
            await stop(child, ((signal.SIGKILL, 5.0),))
        if runtime.uid is not None:
            change_owner(new, runtime.uid)
        new.rename(self._cluster)

    def _make_socket_dir(self, runtime: Runtime) -> None:
        """Creates the socket's folder: in the cluster if the path is short enough, otherwise in the temporary
        folder."""
        socket = self._socket_dir / f".s.PGSQL.{_PORT}"
        if len(os.fsencode(socket)) > _MAX_SOCKET_PATH:
            self._socket_dir = Path(tempfile.mkdtemp(prefix=_SOCKET_PREFIX))
        self._socket_dir.mkdir(mode=0o700, exist_ok=True)
        if runtime.uid is not None:
            change_owner(self._socket_dir, runtime.uid)

    def _spawn(self, runtime: Runtime) -> subprocess.Popen[bytes]:
        cluster = runtime.cluster_path(self._cluster)
        is_inside = self._socket_dir.parent == self._cluster
        command: list[str | Path] = [runtime.bin / "postgres", "-D", cluster]
        command += ["-k", cluster / "run" if is_inside else self._socket_dir, "-p", str(_PORT)]
        settings = {**_SETTINGS, "shared_buffers": f"{buffer_mib()}MB", **({} if self._durable else _NOT_DURABLE)}
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with self._log.open("wb") as log:
            return spawn(
                command,
                cwd=self._cluster,
                env=environment(),
                log=log,
                uid=runtime.uid,
                death_signal=signal.SIGINT,  # a fast, clean shutdown
            )

    async def _wait_until_ready(self, runtime: Runtime, child: subprocess.Popen[bytes]) -> None:
        """Waits until the database answers, and creates it if the cluster is new."""
        deadline = asyncio.get_running_loop().time() + _START_TIMEOUT_S
        while asyncio.get_running_loop().time() < deadline:
            if child.poll() is not None:
                raise StartupError(f"The embedded Postgres stopped at once: {last_line(self._log)}")
            try:
                connection = await asyncpg.connect(self.url, timeout=_CONNECT_TIMEOUT_S)
            except (OSError, TimeoutError, asyncpg.CannotConnectNowError):
                await asyncio.sleep(_POLL_S)
            except asyncpg.InvalidCatalogNameError:
                await self._create_database(runtime)
            else:
                await connection.close(timeout=_CONNECT_TIMEOUT_S)
                return
        raise StartupError(f"The embedded Postgres is not ready after {_START_TIMEOUT_S:.0f} s; see {self._log}")

    async def _create_database(self, runtime: Runtime) -> None:
        command: list[str | Path] = [runtime.bin / "createdb", "-h", self._socket_dir, "-p", str(_PORT)]
        command += ["-U", _USER, _DATABASE]
        with self._log.open("ab") as log:
            # Under our own user id: root may enter the socket's folder, and any user may run the programs.
            child = spawn(command, cwd=self._home, env=environment(), log=log, uid=None, death_signal=signal.SIGKILL)
        try:
            if not await wait_for_exit(child, _INIT_TIMEOUT_S) or child.returncode != 0:
                raise StartupError(f"The embedded Postgres cannot create its database: {last_line(self._log)}")
        finally:
            await stop(child, ((signal.SIGKILL, 5.0),))


def _url(socket_dir: Path) -> str:
    return f"postgresql://{_USER}@/{_DATABASE}?host={quote(str(socket_dir), safe='/')}"


async def _stop_leftover(cluster: Path) -> None:
    """Stops a Postgres that a killed server left running on this data, and deletes its lock file."""
    lock = cluster / "postmaster.pid"
    lines = lock.read_text().splitlines() if lock.exists() else []
    process = _find_postgres(cluster, lines[0]) if lines else None
    if process is not None:
        await _stop_process(process)
    if len(lines) > 4 and Path(lines[4]).name.startswith(_SOCKET_PREFIX):
        shutil.rmtree(lines[4], ignore_errors=True)
    # We hold the data directory, so a process with that id is now another program, perhaps of another container.
    lock.unlink(missing_ok=True)


def _find_postgres(cluster: Path, pid: str) -> psutil.Process | None:
    """Returns the process with that id if it is a Postgres on this data."""
    try:
        process = psutil.Process(int(pid))
        matches = process.name() == "postgres" and process.cwd() == os.path.realpath(cluster)
    except (ValueError, psutil.Error):
        return None
    return process if matches else None


async def _stop_process(process: psutil.Process) -> None:
    """Sends stronger and stronger signals until the process has ended. Raises StartupError if it does not end."""
    deadline = asyncio.get_running_loop().time() + _LEFTOVER_TIMEOUT_S
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            return
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            if asyncio.get_running_loop().time() > deadline:
                break
            await asyncio.sleep(_POLL_S)
        else:
            return
        deadline += _LEFTOVER_TIMEOUT_S
    raise StartupError(f"A Postgres of an earlier server (process {process.pid}) cannot be stopped")
