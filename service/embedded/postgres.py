"""The embedded Postgres: made at first start, a child of ours, stopped with us.

It listens at a Unix socket in a folder that only its user may enter, at no TCP port. Whoever calls holds the data
directory's lock, so a Postgres found running on the data is a left-over and is stopped (after a `kill -9` of ours the
kernel has told it to stop already). A commit is on disk when it returns: fsync, full_page_writes and synchronous_commit
are on.
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
from service.embedded.memory import buffers
from service.embedded.postgres_runtime import MAJOR_VERSION, Runtime, account_for_initdb, find_runtime, give_to
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
    "jit": "off",  # our queries are small; compiling them costs more than running them
    "max_parallel_workers_per_gather": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # A conflict on append is daily business and would be logged with its statement: content has no place in a log.
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
    """One Postgres over `<data_dir>/postgres/<major version>`. `start`, then `stop`; both once.

    The server always runs with `durable=True`. The tests use `durable=False` for databases that nobody keeps: Postgres
    then waits for no disk.
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
        """Whether there is a database already, so that a start is quick."""
        return self._cluster.is_dir()

    @property
    def url(self) -> str:
        """Where the database is, once started."""
        return _url(self._socket_dir)

    def running_url(self) -> str | None:
        """Where the database is that a live server of ours runs on this data; None where none does."""
        lock = self._cluster / "postmaster.pid"
        lines = lock.read_text().splitlines() if lock.exists() else []
        # Seven lines there are, and the fifth is the socket's folder, once it is made.
        if len(lines) < 5 or _postgres_in(self._cluster, lines[0]) is None:
            return None
        elsewhere = Path(lines[4])
        folder = elsewhere if elsewhere.name.startswith(_SOCKET_PREFIX) else self._cluster / "run"
        return _url(folder)

    async def start(self) -> str:
        """Makes the database where there is none, starts it, returns its URL. Raises StartupError."""
        try:
            self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._refuse_other_versions()
            runtime = find_runtime(self._cluster)
            if not self.exists:
                await self._initialise(runtime)
            await _stop_leftover(self._cluster)
            self._make_socket_dir(runtime)
            self._child = self._spawn(runtime)
            await self._ready(runtime, self._child)
        except (OSError, subprocess.SubprocessError) as error:
            await self.stop()
            raise StartupError(f"The embedded Postgres cannot start: {error}") from None
        except BaseException:
            await self.stop()
            raise
        return self.url

    async def wait(self) -> None:
        """Returns when Postgres has ended, which it does of itself only by an accident."""
        while self._child is not None and not await wait_for_exit(self._child, timeout_s=3600.0):
            pass

    async def stop(self) -> None:
        """Stops Postgres cleanly: it ends its sessions and writes a checkpoint. Harmless when not started."""
        child, self._child = self._child, None
        if child is not None:
            await stop(child, _STOP)
        if self._socket_dir.name.startswith(_SOCKET_PREFIX):
            shutil.rmtree(self._socket_dir, ignore_errors=True)

    def _refuse_other_versions(self) -> None:
        others = [path.name for path in self._home.iterdir() if path.is_dir() and path.name.isdigit()]
        if others and not self.exists:
            raise StartupError(
                f"{self._home} was made by Postgres {max(others, key=int)}, this release brings {MAJOR_VERSION}: "
                "dump it with the release that made it, then restore"
            )

    async def _initialise(self, runtime: Runtime) -> None:
        """Makes the cluster beside its place and renames it when it is whole: a crash leaves no half of one."""
        new = self._home / "new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        uid = None if runtime.uid is None else account_for_initdb()
        if uid is not None:
            give_to(new, uid)
        command: list[str | Path] = [runtime.bin / "initdb", "-D", runtime.seen_from(new), "-U", _USER, "--auth=trust"]
        command += ["--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8"]
        if not self._durable:
            command += ["--no-sync"]
        with self._log.open("wb") as log:
            child = spawn(command, cwd=new, env=environment(), log=log, uid=uid, death_signal=signal.SIGKILL)
        try:
            if not await wait_for_exit(child, _INIT_TIMEOUT_S) or child.returncode != 0:
                raise StartupError(f"The embedded Postgres cannot make its database: {last_line(self._log)}")
        finally:
            await stop(child, ((signal.SIGKILL, 5.0),))
        if runtime.uid is not None:
            give_to(new, runtime.uid)
        new.rename(self._cluster)

    def _make_socket_dir(self, runtime: Runtime) -> None:
        """In the cluster where the path is short enough for a socket, else a private folder in the temporary one."""
        socket = self._socket_dir / f".s.PGSQL.{_PORT}"
        if len(os.fsencode(socket)) > _MAX_SOCKET_PATH:
            self._socket_dir = Path(tempfile.mkdtemp(prefix=_SOCKET_PREFIX))
        self._socket_dir.mkdir(mode=0o700, exist_ok=True)
        if runtime.uid is not None:
            give_to(self._socket_dir, runtime.uid)

    def _spawn(self, runtime: Runtime) -> subprocess.Popen[bytes]:
        seen = runtime.seen_from(self._cluster)
        inside = self._socket_dir.parent == self._cluster
        command: list[str | Path] = [runtime.bin / "postgres", "-D", seen]
        command += ["-k", seen / "run" if inside else self._socket_dir, "-p", str(_PORT)]
        settings = {**_SETTINGS, "shared_buffers": f"{buffers()}MB", **({} if self._durable else _NOT_DURABLE)}
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

    async def _ready(self, runtime: Runtime, child: subprocess.Popen[bytes]) -> None:
        """Waits until our database answers. Makes it where the cluster is new."""
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
            # As the user we are: root may enter the socket's folder, and the programs run for any user.
            child = spawn(command, cwd=self._home, env=environment(), log=log, uid=None, death_signal=signal.SIGKILL)
        try:
            if not await wait_for_exit(child, _INIT_TIMEOUT_S) or child.returncode != 0:
                raise StartupError(f"The embedded Postgres cannot make its database: {last_line(self._log)}")
        finally:
            await stop(child, ((signal.SIGKILL, 5.0),))


def _url(socket_dir: Path) -> str:
    return f"postgresql://{_USER}@/{_DATABASE}?host={quote(str(socket_dir), safe='/')}"


async def _stop_leftover(cluster: Path) -> None:
    """Stops a Postgres that a killed server of ours left on this data, and forgets its lock file."""
    lock = cluster / "postmaster.pid"
    lines = lock.read_text().splitlines() if lock.exists() else []
    process = _postgres_in(cluster, lines[0]) if lines else None
    if process is not None:
        await _end(process)
    if len(lines) > 4 and Path(lines[4]).name.startswith(_SOCKET_PREFIX):
        shutil.rmtree(lines[4], ignore_errors=True)
    # We hold the data directory, so what runs under that number now is another program, perhaps of another container.
    lock.unlink(missing_ok=True)


def _postgres_in(cluster: Path, pid: str) -> psutil.Process | None:
    """The process of that number, where it is a Postgres on this data."""
    try:
        process = psutil.Process(int(pid))
        ours = process.name() == "postgres" and process.cwd() == os.path.realpath(cluster)
    except (ValueError, psutil.Error):
        return None
    return process if ours else None


async def _end(process: psutil.Process) -> None:
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
    raise StartupError(f"A Postgres left behind (process {process.pid}) cannot be stopped")
