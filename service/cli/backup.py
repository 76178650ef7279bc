"""The commands `everthread backup` and `everthread restore`.

A backup is a folder: `database.dump` and `stream_keys.dump` of one snapshot, in the format of pg_dump, the folder
`blobs`, the file `api_key`, and `backup.json`, which is written last.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from hashlib import file_digest
from pathlib import Path
from typing import Annotated

import orjson
import typer

from service.cli import logs
from service.cli.keys import DataDirOption, run, say
from service.errors import CommandError
from service.settings import Settings

FORMAT = "everthread-backup/1"
MANIFEST = "backup.json"
DATABASE, KEYS = "database.dump", "stream_keys.dump"
# Unlogged tables have pieces of replies that are being written, and the plain words of messages: a restored server
# makes their rows again.
NO_CACHES = "--no-unlogged-table-data"
_UNFINISHED = ".unfinished"


def backup(
    folder: Annotated[Path, typer.Argument(help="A folder that does not exist")], data_dir: DataDirOption = None
) -> None:
    """Back up the database and the bytes of files, while servers run.

    The folder `audit` of the data directory, with the keys of the log and of the encryption, is not in a backup: keep a
    copy of it elsewhere. Neither are files in an object store.
    """

    async def work() -> None:
        from service.cli import admin
        from service.system import SystemClock

        settings, home = _settings(data_dir)
        logs.configure("warning")
        if folder.exists():
            raise CommandError(f"{folder} exists: name a new folder")
        async with admin.open_owner_url(settings) as url:
            folder.mkdir(mode=0o700, parents=True)
            copied = _copy_blobs(settings, home, folder)
            oldest = await _dump(url, home, folder)
        # Files that were created before the snapshot and after the first copy.
        copied += _copy_blobs(settings, home, folder)
        if (home / "api_key").exists():
            shutil.copy2(home / "api_key", folder / "api_key")
        hashes = {name: _hash(folder / name) for name in (DATABASE, KEYS)}
        made_at = SystemClock().now().isoformat()
        manifest = {"format": FORMAT, "made_at": made_at, "sha256": hashes, "oldest_key": oldest}
        (folder / MANIFEST).write_bytes(orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
        typer.echo(f"Backed up the database and {copied:,} files to {folder}.")
        if oldest is not None:
            typer.echo(
                f"It needs the encryption keys from epoch {oldest['epoch']} on, whose key is {oldest['key_id']}."
            )
        if settings.blobs is not None:
            say(f"The bytes of files are in {settings.blobs}: back that up after this.")

    run(work())


def restore(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="A folder of everthread backup")],
    data_dir: DataDirOption = None,
) -> None:
    """Restore a backup into an empty data directory, or into the empty database of EVERTHREAD_DATABASE_URL.

    Put the folder `audit` at its place before the first start: it has the list of erased objects, which the start
    deletes again before it serves.
    """

    async def work() -> None:
        settings, home = _settings(data_dir)
        logs.configure("warning")
        _check(folder)
        async with _empty_database(settings, home) as url:
            for name in (DATABASE, KEYS):
                say(f"Restoring {name}.")
                options = ("--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction")
                await _run_program(home, "pg_restore", [*options, f"--dbname={url}", folder / name])
        if settings.blobs is None and (folder / "blobs").exists():
            shutil.copytree(folder / "blobs", home / "blobs", dirs_exist_ok=True)
        if (folder / "api_key").exists() and not (home / "api_key").exists():
            shutil.copy2(folder / "api_key", home / "api_key")
        typer.echo(f'Restored. Put the folder audit into {home}, and start with: everthread serve --restored "REASON"')

    run(work())


def _settings(data_dir: Path | None) -> tuple[Settings, Path]:
    from service.embedded.data_dir import default_data_dir

    settings = Settings.load(data_dir=data_dir)
    return settings, (settings.data_dir or default_data_dir()).expanduser().absolute()


async def _dump(url: str, home: Path, folder: Path) -> dict[str, object] | None:
    """Dumps the database and, apart from it, the wrapped keys. Returns the oldest epoch of keys that they need."""
    from service.database import connect
    from sql import queries

    sql = queries("backups")
    db = await connect(url)
    try:
        async with db.transaction(isolation="repeatable_read", readonly=True):
            snapshot = await db.fetchval(sql["snapshot"])
            oldest = await db.fetchrow(sql["oldest_epoch"])
            common = ["--format=custom", f"--snapshot={snapshot}", f"--dbname={url}"]
            left_out = [NO_CACHES, "--exclude-table-data=stream_keys"]
            say("Dumping the database.")
            await _run_program(home, "pg_dump", [*common, *left_out, f"--file={folder / DATABASE}"])
            only = ["--data-only", "--table=stream_keys"]
            await _run_program(home, "pg_dump", [*common, *only, f"--file={folder / KEYS}"])
    finally:
        await db.close()
    return None if oldest is None else dict(oldest)


@asynccontextmanager
async def _empty_database(settings: Settings, home: Path) -> AsyncIterator[str]:
    """Yields the URL of a database without tables for its owner. Raises CommandError if there are some."""
    from service.database import connect
    from service.embedded.data_dir import DataDir
    from service.embedded.postgres import EmbeddedPostgres
    from sql import queries

    if settings.database_url is not None:
        url = settings.database_url.get_secret_value()
        db = await connect(url)
        try:
            if not await db.fetchval(queries("backups")["is_empty"]):
                raise CommandError("The database has tables already: name an empty one.")
        finally:
            await db.close()
        await asyncio.to_thread(home.mkdir, mode=0o700, parents=True, exist_ok=True)
        yield url
        return
    postgres = EmbeddedPostgres(home)
    if postgres.exists:
        raise CommandError(f"{home} has a database already: name an empty data directory.")
    lock = DataDir.acquire(home)
    try:
        yield await postgres.start()
    finally:
        await postgres.stop()
        lock.release()


def _check(folder: Path) -> None:
    """Raises CommandError if the folder has no whole backup, or another one than its manifest says."""
    try:
        manifest = orjson.loads((folder / MANIFEST).read_bytes())
        is_known, hashes = manifest["format"] == FORMAT, dict(manifest["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        raise CommandError(f"{folder} has no whole backup: {MANIFEST} is missing or unreadable") from None
    if not is_known:
        raise CommandError(f"{folder} has a backup of another format than {FORMAT}")
    for name in (DATABASE, KEYS):
        if not (folder / name).exists() or hashes.get(name) != _hash(folder / name):
            raise CommandError(f"{folder / name} is missing or was changed")


def _copy_blobs(settings: Settings, home: Path, folder: Path) -> int:
    """Copies the files of the blob folder that the backup lacks, and returns their number."""
    if settings.blobs is not None or not (home / "blobs").exists():
        return 0
    target, count = folder / "blobs", 0
    target.mkdir(mode=0o700, exist_ok=True)
    for path in (home / "blobs").iterdir():
        if path.name.endswith(_UNFINISHED) or (target / path.name).exists():
            continue
        try:
            shutil.copy2(path, target / path.name)
        except FileNotFoundError:  # it was deleted meanwhile
            continue
        count += 1
    return count


async def _run_program(home: Path, name: str, arguments: Sequence[str | Path]) -> None:
    """Runs one of Postgres' programs. Raises CommandError with its last line if it fails."""
    from service.child_process import environment
    from service.embedded.postgres_runtime import MAJOR_VERSION, find_runtime

    program = find_runtime(home / "postgres" / str(MAJOR_VERSION)).bin / name
    done = await asyncio.to_thread(
        subprocess.run, [program, *arguments], capture_output=True, text=True, env=environment(), check=False
    )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise CommandError(f"{name} failed: {lines[-1]}")


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
