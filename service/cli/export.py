"""The command `everthread export`."""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.keys import DataDirOption, open_writer, run, say
from service.errors import CommandError
from service.settings import Settings

if TYPE_CHECKING:
    from service.exports.containers import FolderSink, TarSink
    from service.exports.exporter import ExportCut, ExportProgress
    from service.exports.layout import ExportScope
    from service.storage.base import Blobs
    from service.writer import Writer

# Seconds between two lines that report the progress.
REPORT_EVERY_S = 2.0
MAX_PASSPHRASE_BYTES = 1024


def export(
    output: Annotated[Path, typer.Argument(help="A folder, or a file whose name ends with .tar.zst")],
    project: Annotated[str | None, typer.Option(help="Only this project: its id or name")] = None,
    thread: Annotated[
        str | None, typer.Option(help="Only this thread, with --with-files also the files it names")
    ] = None,
    since: Annotated[str | None, typer.Option(help="A date, a date with a time, or Unix seconds")] = None,
    until: Annotated[str | None, typer.Option(help="The end, not included, in the same forms")] = None,
    with_files: Annotated[bool, typer.Option("--with-files", help="Also the bytes of files")] = False,
    passphrase_file: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Encrypt the export with the passphrase in this file"),
    ] = None,
    data_dir: DataDirOption = None,
) -> None:
    """Export events, with all that proves them, into a folder or a compressed file.

    The export shows the moment of the newest checkpoint; servers may keep running. An interrupted export into a folder
    goes on if the command is repeated. The export is itself an event of the log. `everthread verify OUTPUT` checks it.
    """
    passphrase = None if passphrase_file is None else read_passphrase(passphrase_file)
    if project is not None and thread is not None:
        raise CommandError("Choose --project or --thread: a thread is of one project")

    async def work() -> None:
        from service.cli import admin
        from service.cli.thread_deletion import parse_time
        from service.embedded.data_dir import default_data_dir
        from service.exports.layout import ExportScope
        from service.storage.base import StorageError
        from service.storage.factory import open_blobs
        from service.storage.sealed_blobs import SealedBlobs

        settings = Settings.load(data_dir=data_dir)
        home = (settings.data_dir or default_data_dir()).expanduser().absolute()
        async with open_writer(data_dir) as writer:
            scope = ExportScope(
                project_id=None if project is None else await admin.project_id_of(writer.pool, project),
                thread_id=thread,
                since=None if since is None else parse_time(since, "--since"),
                until=None if until is None else parse_time(until, "--until"),
                has_files=with_files,
            )
            try:
                store = open_blobs(settings.blobs, home / "blobs") if with_files else None
            except StorageError as error:
                raise CommandError(str(error)) from None
            blobs = None if store is None else SealedBlobs(store, writer.pool.acquire)
            key_path = home / "audit" / "log.vkey"
            log_key = key_path.read_text().strip() if key_path.exists() else None
            progress = await _export(writer, blobs, output, scope=scope, passphrase=passphrase, log_key=log_key)
        say(f"Exported {progress.count:,} events and {progress.blobs:,} files to {output}.")

    run(work())


def read_passphrase(path: Path) -> str:
    """Returns the passphrase in a file, without the end of its line. Raises CommandError if it is empty or too long."""
    try:
        text = path.read_bytes()[: MAX_PASSPHRASE_BYTES + 1].decode().removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{path} has no passphrase: {error}") from None
    if not text or len(text.encode()) > MAX_PASSPHRASE_BYTES:
        raise CommandError(f"{path} has no passphrase of 1 to {MAX_PASSPHRASE_BYTES} bytes")
    return text


async def _export(
    writer: Writer,
    blobs: Blobs | None,
    output: Path,
    *,
    scope: ExportScope,
    passphrase: str | None,
    log_key: str | None,
) -> ExportProgress:
    """Makes the export. Raises CommandError."""
    from events.envelope import Origin
    from events.installation import INSTALLATION_PROJECT, ExportStarted
    from service.audit.audit_export import record_export
    from service.audit.log_tree import LogFault
    from service.cli.admin import actor
    from service.exports.exporter import Exporter, NothingToExport, load_cut
    from service.exports.layout import FORMAT, ExportFault
    from service.storage.base import StorageError
    from service.system import RandomIds

    try:
        async with writer.pool.acquire() as db:
            newest = await load_cut(db)
        sink, cut = _open_sink(output, scope, newest, passphrase)
        try:
            exporter = Exporter(
                writer.pool,
                blobs,
                sink,
                scope=scope,
                cut=cut,
                on_progress=_Report().show,
                files=sink.files,
                next_index=sink.next_index,
            )
            started = ExportStarted(
                export_id=RandomIds().new("export"),
                format=FORMAT,
                filters={name: str(value) for name, value in scope.to_json().items() if value},
                first_index=sink.next_index,
                has_contents=True,
                is_following=False,
            )
            async with record_export(writer, Origin(INSTALLATION_PROJECT, actor()), started, exporter.progress):
                return await exporter.run(writer.clock.now(), log_key)
        finally:
            sink.close()
    except (NothingToExport, ExportFault) as error:
        raise CommandError(str(error)) from None
    except LogFault as error:
        raise CommandError(f"The log is broken: {error}. Run everthread verify.") from None
    except StorageError as error:
        raise CommandError(f"The bytes of a file cannot be read: {error}") from None
    except OSError as error:
        raise CommandError(f"Cannot write {output}: {error.strerror or error}") from None


def _open_sink(
    output: Path, scope: ExportScope, newest: ExportCut, passphrase: str | None
) -> tuple[FolderSink | TarSink, ExportCut]:
    """Returns the place of the export, and the moment to show: the newest, or that of an export which goes on."""
    from service.exports.containers import TAR_SUFFIX, FolderSink, TarSink, is_whole
    from service.exports.exporter import ExportCut

    if output.name.endswith(TAR_SUFFIX):
        return TarSink(output, passphrase), newest
    if output.exists() and not output.is_dir():
        raise CommandError(f"{output} is no folder, and its name does not end with {TAR_SUFFIX}")
    if output.is_dir() and is_whole(output):
        raise CommandError(f"{output} has an export already: choose another folder")
    sink = FolderSink(output, {"scope": scope.to_json(), "cut": newest.to_json()}, passphrase)
    if sink.next_index:
        say(f"Going on with the export at the index {sink.next_index:,} of the log.")
    return sink, ExportCut.from_json(sink.order["cut"])


class _Report:
    """Prints the progress and the rate to standard error."""

    def __init__(self) -> None:
        self._began = self._last = monotonic()

    def show(self, progress: ExportProgress) -> None:
        """Prints a line if REPORT_EVERY_S seconds have passed since the last one."""
        now = monotonic()
        if now - self._last >= REPORT_EVERY_S:
            self._last = now
            rate = progress.count / (now - self._began)
            say(
                f"{progress.count:,} events ({rate:,.0f}/s), {progress.blobs:,} files; the log up to the index "
                f"{progress.index:,} of {progress.end:,}"
            )
