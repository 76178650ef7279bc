"""The command `everthread import`."""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from service.cli.export import read_passphrase
from service.cli.keys import DataDirOption, open_writer, run, say
from service.errors import CommandError
from service.settings import Settings

if TYPE_CHECKING:
    from service.audit.notes import VerifierKey
    from service.imports.export_importer import ImportProgress
    from service.imports.export_plan import ImportOrder


def import_export(
    place: Annotated[Path, typer.Argument(metavar="EXPORT", exists=True, help="A folder or file of everthread export")],
    passphrase_file: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="The passphrase of an encrypted export")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="The public key that signed the export's log")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Verify, print what would come, and import nothing")
    ] = False,
    data_dir: DataDirOption = None,
) -> None:
    """Import an export of another installation, with its ids, times, actors and proofs.

    The export is verified before anything is written. What is here already is left as it is, so the command can be
    repeated, and an interrupted one goes on. If an object with other events has an id of the export, nothing is
    imported. Servers may keep running.
    """
    passphrase = None if passphrase_file is None else read_passphrase(passphrase_file)

    async def work() -> None:
        from service.audit.notes import FormatError, VerifierKey
        from service.embedded.data_dir import default_data_dir
        from service.exports.layout import ExportFault
        from service.imports.export_plan import ImportConflict
        from service.storage.base import StorageError

        settings = Settings.load(data_dir=data_dir)
        home = (settings.data_dir or default_data_dir()).expanduser().absolute()
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            keys = [] if key is None else [VerifierKey.parse(key.read_text().strip())]
            await _import(place, home, settings, passphrase=passphrase, keys=keys, dry_run=dry_run)
        except FormatError as error:
            raise CommandError(f"--key: {error}") from None
        except (ExportFault, ImportConflict) as error:
            raise CommandError(str(error)) from None
        except StorageError as error:
            raise CommandError(f"The bytes of a file cannot be written: {error}") from None
        except OSError as error:
            raise CommandError(f"Cannot read {place}: {error.strerror or error}") from None

    run(work())


async def _import(
    place: Path, home: Path, settings: Settings, *, passphrase: str | None, keys: list[VerifierKey], dry_run: bool
) -> None:
    from events.envelope import Origin
    from events.installation import INSTALLATION_PROJECT
    from service.cli.admin import actor
    from service.erasure.forget_list import ForgetList
    from service.exports.containers import read_files
    from service.files.blob_marker import check_blob_marker
    from service.imports.event_spool import EventSpool
    from service.imports.export_importer import ExportImporter
    from service.imports.export_plan import plan_import, read_export
    from service.storage.factory import open_blobs
    from service.storage.sealed_blobs import SealedBlobs
    from service.system import RandomIds

    ids, report = RandomIds(), _Report()
    spool = EventSpool(home)
    try:
        with report:
            export = read_export(
                place, spool, passphrase=passphrase, keys=keys, on_progress=lambda result: report.read(result.events)
            )
            async with open_writer(settings.data_dir) as writer, writer.pool.acquire() as db:
                order = await plan_import(db, export, spool, ForgetList(home / "audit").load().values())
                report.begin(order.events)
                if dry_run:
                    report.finish(order, None)
                    return
                blobs = open_blobs(settings.blobs, home / "blobs")
                where = settings.blobs or str(home / "blobs")
                await check_blob_marker(writer.pool, blobs, place=where, new_marker=ids.token(16))
                importer = ExportImporter(
                    writer,
                    SealedBlobs(blobs, writer.pool.acquire),
                    spool,
                    origin=Origin(INSTALLATION_PROJECT, actor()),
                    import_id=ids.new("import"),
                    on_progress=report.show,
                )
                await importer.run(db, export, order, read_files(place, passphrase))
        report.finish(order, importer.progress)
    finally:
        spool.close()


class _Report:
    """Shows the progress on standard error, and prints what was done."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("events"))
        self._bar = Progress(*columns, TimeRemainingColumn(), console=console, transient=True)
        self._task = self._bar.add_task("Verifying", total=None)
        self._began = monotonic()

    def __enter__(self) -> _Report:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def read(self, events: int) -> None:
        """Shows that so many events were verified."""
        self._bar.update(self._task, completed=events)

    def begin(self, events: int) -> None:
        """Begins to count the events that are added."""
        self._began = monotonic()
        self._bar.update(self._task, description="Importing", total=events, completed=0)

    def show(self, progress: ImportProgress) -> None:
        """Shows the work so far."""
        self._bar.update(self._task, completed=progress.events)

    def finish(self, order: ImportOrder, progress: ImportProgress | None) -> None:
        """Prints the result. `progress` is None after a dry run."""
        for reason, count in sorted(order.left_out.items()):
            say(f"Not imported: {count:,} streams ({reason}).")
        if order.present:
            say(f"{order.present:,} streams were here before.")
        if progress is None:
            typer.echo(f"{order.events:,} events of {len(order.streams):,} streams would be imported.")
            return
        if progress.missing_blobs:
            say(f"The export lacks the bytes of {len(progress.missing_blobs):,} files.")
        seconds = max(monotonic() - self._began, 0.001)
        rate = f" in {seconds:,.1f} s ({progress.events / seconds:,.0f}/s)" if progress.events else ""
        events, streams = f"{progress.events:,} events", f"{progress.streams:,} streams"
        typer.echo(f"Imported {events} of {streams} and the bytes of {progress.blobs:,} files{rate}.")
