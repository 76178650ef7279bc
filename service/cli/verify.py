"""The command `everthread verify`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli import logs
from service.cli.keys import DataDirOption, run, say
from service.errors import CommandError
from service.settings import Settings

if TYPE_CHECKING:
    from service.audit.log_check import KnownCheckpoint
    from service.audit.notes import VerifierKey
    from service.audit.verification import Progress, Scope

# Seconds between two lines that report the progress, and the faults that are printed.
REPORT_EVERY_S = 2.0
MAX_PRINTED = 1000


def verify(
    stream: Annotated[str | None, typer.Option(help="Only this stream, such as thread_…")] = None,
    since: Annotated[
        str | None, typer.Option(help="Only streams with events since a date, or a time with zone")
    ] = None,
    checkpoint: Annotated[
        list[Path] | None, typer.Option(help="A checkpoint that was kept elsewhere; may be repeated")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="The log's public key; default: log.vkey of the data directory")
    ] = None,
    processes: Annotated[int | None, typer.Option(min=1, max=256, help="Default: one for each core")] = None,
    files: Annotated[bool, typer.Option(help="Also read the bytes of all files")] = True,
    data_dir: DataDirOption = None,
) -> None:
    """Show that nothing in the database was changed by hand: events, views, heads, the log and files.

    Servers may keep running. Each fault is printed with its stream and version, and the exit code is 1 if there is one.
    """

    async def work() -> None:
        from service.audit.verification import Scope, verify_installation
        from service.cli import admin
        from service.embedded.data_dir import default_data_dir
        from service.storage.base import StorageError
        from service.storage.factory import open_blobs

        settings = Settings.load(data_dir=data_dir)
        logs.configure("warning")
        home = (settings.data_dir or default_data_dir()).expanduser().absolute()
        known = _load_checkpoints(home / "audit", checkpoint or [])
        keys = _load_keys(home / "audit" / "log.vkey", key)
        scope = Scope(stream_id=stream, since=_parse_time(since), known=known, keys=keys, processes=processes)
        report = ProgressReport()
        async with admin.open_database(settings) as url:
            try:
                blobs = open_blobs(settings.blobs, home / "blobs") if files else None
            except StorageError as error:
                raise CommandError(str(error)) from None
            progress = await verify_installation(url, blobs, scope, report.show)
        report.finish(progress, scope)
        if progress.faults:
            raise typer.Exit(1)

    run(work())


class ProgressReport:
    """Prints the progress and the rate to standard error, and the result at the end."""

    def __init__(self) -> None:
        self._began = self._last = monotonic()

    def show(self, progress: Progress) -> None:
        """Prints a line if REPORT_EVERY_S seconds have passed since the last one."""
        now = monotonic()
        if now - self._last >= REPORT_EVERY_S:
            self._last = now
            say(f"{self._counts(progress)} of {progress.total_events:,}; {len(progress.faults)} faults")

    def finish(self, progress: Progress, scope: Scope) -> None:
        """Prints the faults to standard output, and what was verified to standard error."""
        for fault in progress.faults[:MAX_PRINTED]:
            typer.echo(str(fault))
        if len(progress.faults) > MAX_PRINTED:
            typer.echo(f"… and {len(progress.faults) - MAX_PRINTED} more")
        for loss in progress.losses:
            say(f"Lost: {loss}.")
        say(f"{self._counts(progress)} of {progress.streams:,} streams; {progress.files:,} files")
        say(f"The log has {progress.log_size:,} events; {progress.waiting:,} wait for their index.")
        signed = "their signatures are valid" if scope.keys else "no public key was given, so no signature was checked"
        if progress.unvouched:
            signed = f"for the keys of {progress.unvouched:,} of them only the database vouches"
        say(f"{progress.checkpoints:,} checkpoints were compared with the log; {signed}.")
        if not progress.has_views:
            say("The views were not compared: a replica has no temporary tables. Verify the primary for that.")
        say("Verified: no faults." if not progress.faults else f"{len(progress.faults):,} faults.")

    def _counts(self, progress: Progress) -> str:
        rate = progress.events / max(monotonic() - self._began, 0.001)
        return f"{progress.events:,} events ({rate:,.0f}/s)"


def _load_checkpoints(folder: Path, given: list[Path]) -> list[KnownCheckpoint]:
    """Returns the given checkpoints, and the newest one beside the signing key. Raises CommandError."""
    from service.audit.checkpoint import Checkpoint
    from service.audit.kept_checkpoints import LATEST
    from service.audit.log_check import KnownCheckpoint
    from service.audit.notes import FormatError, Note

    found = []
    own = folder / LATEST
    for path in [*([own] if own.exists() else []), *given]:
        try:
            found.append(KnownCheckpoint(Checkpoint.parse(Note.parse(path.read_text()).text), f"the checkpoint {path}"))
        except (OSError, UnicodeDecodeError, FormatError) as error:
            raise CommandError(f"{path} is no checkpoint: {error}") from None
    return found


def _load_keys(own: Path, given: Path | None) -> list[VerifierKey]:
    from service.audit.notes import FormatError, VerifierKey

    path = given or own
    if given is None and not own.exists():
        return []
    try:
        return [VerifierKey.parse(path.read_text().strip())]
    except (OSError, UnicodeDecodeError, FormatError) as error:
        raise CommandError(f"{path} is no public key of a log: {error}") from None


def _parse_time(text: str | None) -> datetime | None:
    from service.cli.thread_deletion import parse_time

    return None if text is None else parse_time(text, "--since")
