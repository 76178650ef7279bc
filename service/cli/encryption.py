"""The commands `everthread encryption`."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from service.cli import logs
from service.cli.keys import DataDirOption, run, say
from service.settings import Settings

if TYPE_CHECKING:
    from service.secrets.encryption import EncryptionState, KeyEpoch
    from service.storage.sealed_blobs import SealedBlobs
    from sql.connection import Connection

encryption = typer.Typer(no_args_is_help=True, help="Encryption of the database: status, enable, rotate.")


@encryption.command("status")
def show_status(data_dir: DataDirOption = None) -> None:
    """Show whether the database is encrypted, by which key, and what is still plain or wrapped by an older key."""

    async def work() -> None:
        from service.cli import admin
        from service.database import connect
        from service.replay.encryption_sweep import count_plain_rows
        from service.secrets.encryption import read_epochs, read_state

        settings = Settings.load(data_dir=data_dir)
        logs.configure("warning")
        async with admin.open_database(settings) as url:
            db = await connect(url)
            try:
                state = await read_state(db)
                blobs = await _count_blobs(settings, db) if state.is_encrypted else 0
                _print_state(state, await count_plain_rows(db), blobs)
                _print_epochs(await read_epochs(db))
            finally:
                await db.close()

    run(work())


@encryption.command("enable")
def enable(data_dir: DataDirOption = None) -> None:
    """Encrypt a database that exists, while servers run.

    From the first moment, all appends encrypt. Then every stream is encrypted in a short transaction. A command that
    was broken off goes on where it ended. The role of the database's URL must own the tables.
    """

    async def work() -> None:
        from service.cli import admin
        from service.files.blob_sealing import encrypt_blobs
        from service.replay.encryption_sweep import count_plain_rows, encrypt_rows, encrypt_streams
        from service.secrets.encryption import begin_encryption, read_state

        settings = Settings.load(data_dir=data_dir)
        logs.configure("warning")
        async with admin.open_owner_connection(settings) as (db, source, keys):
            if not (await read_state(db)).is_encrypted:
                await begin_encryption(db, source, keys)
            with _progress("Streams") as progress:
                task = progress.add_task("Streams", total=(await read_state(db)).plain_streams)
                async for done in encrypt_streams(db):
                    progress.advance(task, done)
            # After the streams: by now, servers have noticed that the database is encrypted.
            with _progress("Rows") as progress:
                task = progress.add_task("Rows", total=await count_plain_rows(db))
                async for done in encrypt_rows(db):
                    progress.advance(task, done)
            with _progress("Files") as progress:
                task = progress.add_task("Files", total=await _count_blobs(settings, db))
                async for done in encrypt_blobs(_open_blobs(settings, db), _soon()):
                    progress.advance(task, done)
            _print_state(await read_state(db), await count_plain_rows(db), await _count_blobs(settings, db))
        say("Older rows stay on the disk until Postgres reuses their place: VACUUM FULL writes new tables.")

    run(work())


@encryption.command("rotate")
def rotate(data_dir: DataDirOption = None) -> None:
    """Wrap the keys of all streams by a new key-encryption key. No event is written.

    If the data directory has the keys, a new one is added to its file: copy it. Else add a key to your file, variable
    or command first, as the last one. Keep the older keys until `everthread encryption status` shows that nothing is
    wrapped by them. A command that was broken off goes on where it ended.
    """

    async def work() -> None:
        from service.cli import admin
        from service.replay.encryption_sweep import count_plain_rows
        from service.secrets.encryption import begin_rotation, read_state, wrap_again

        settings = Settings.load(data_dir=data_dir)
        logs.configure("warning")
        async with admin.open_owner_connection(settings) as (db, source, keys):
            await begin_rotation(db, source, keys)
            with _progress("Keys") as progress:
                task = progress.add_task("Keys", total=(await read_state(db)).older_keys)
                async for done in wrap_again(db):
                    progress.advance(task, done)
            _print_state(await read_state(db), await count_plain_rows(db), await _count_blobs(settings, db))
            if source.is_own_file:
                say(f"Copy {source.path}: without it, nothing can be read.")

    run(work())


def _progress(name: str) -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn(name), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _open_blobs(settings: Settings, db: Connection) -> SealedBlobs:
    """Returns the blob store of the settings. Raises CommandError."""
    from service.embedded.data_dir import default_data_dir
    from service.errors import CommandError
    from service.storage.base import StorageError
    from service.storage.factory import open_blobs
    from service.storage.sealed_blobs import SealedBlobs

    home = (settings.data_dir or default_data_dir()).expanduser().absolute()
    try:
        return SealedBlobs(open_blobs(settings.blobs, home / "blobs"), lambda: nullcontext(db))
    except StorageError as error:
        raise CommandError(str(error)) from None


async def _count_blobs(settings: Settings, db: Connection) -> int:
    from service.files.blob_sealing import count_plain_blobs

    return await count_plain_blobs(_open_blobs(settings, db), _soon())


def _soon() -> datetime:
    """Returns a moment after the last write of every blob, also if the clock of a blob store is ahead of ours."""
    from service.system import SystemClock

    return SystemClock().now() + timedelta(days=1)


def _print_state(state: EncryptionState, plain_rows: int, plain_blobs: int) -> None:
    if not state.is_encrypted:
        typer.echo("The database is not encrypted.")
        return
    typer.echo(f"The database is encrypted since epoch {state.epoch} by the key {state.key_id}.")
    typer.echo(f"{state.plain_streams} streams have plain events.")
    typer.echo(f"{plain_rows} secrets and stored answers are plain.")
    typer.echo(f"{plain_blobs} files in the blob store are plain.")
    typer.echo(f"{state.older_keys} keys of streams are wrapped by an older key.")


def _print_epochs(epochs: list[KeyEpoch]) -> None:
    for each in epochs:
        end = f"destroyed {each.destroyed_at:%Y-%m-%d}" if each.destroyed_at else f"wraps {each.wrapped} keys"
        typer.echo(f"Epoch {each.epoch} since {each.began_at:%Y-%m-%d}, key {each.key_id}: {end}.")
