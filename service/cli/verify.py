"""The command `everthread verify`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli import logs
from service.cli.export import read_passphrase
from service.cli.export_check import verify_export_at
from service.cli.keys import DataDirOption, run, say
from service.errors import CommandError
from service.settings import Settings

if TYPE_CHECKING:
    from service.audit.attestation_check import Trust
    from service.audit.faults import Fault
    from service.audit.log_check import KnownCheckpoint
    from service.audit.notes import VerifierKey
    from service.audit.verification import Progress, Scope

# Seconds between two lines that report the progress, and the faults that are printed.
REPORT_EVERY_S = 2.0
MAX_PRINTED = 1000


def verify(
    export: Annotated[
        Path | None, typer.Argument(help="An export to verify instead of the database: a folder, or a .tar.zst file")
    ] = None,
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
    witnessed: Annotated[
        int | None, typer.Option(min=1, help="Demand a checkpoint that so many witnesses cosigned")
    ] = None,
    witness: Annotated[
        list[str] | None, typer.Option(help="Its key, or a file with it; default: those of EVERTHREAD_WITNESSES")
    ] = None,
    restored: Annotated[
        list[int] | None, typer.Option(min=2, help="The number of an epoch that began with a restore; may be repeated")
    ] = None,
    processes: Annotated[int | None, typer.Option(min=1, max=256, help="Default: one for each core")] = None,
    files: Annotated[bool, typer.Option(help="Also read the bytes of all files")] = True,
    passphrase_file: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="The passphrase of an encrypted export")
    ] = None,
    data_dir: DataDirOption = None,
) -> None:
    """Show that nothing in the database was changed by hand: events, views, heads, the log and files.

    Servers may keep running. Each fault is printed with its stream and version, and the exit code is 1 if there is one.
    An export is verified by itself, without a server: only --key, --checkpoint and --passphrase-file belong to it.
    """
    if export is not None:
        if [stream, since, witnessed, witness, restored, processes].count(None) < 6 or not files:
            raise CommandError("An export takes only --key, --checkpoint and --passphrase-file")
        verify_export_at(
            export,
            _load_keys(export, key) if key is not None else [],
            _load_known(checkpoint or []),
            passphrase=None if passphrase_file is None else read_passphrase(passphrase_file),
        )
        return
    if passphrase_file is not None:
        raise CommandError("--passphrase-file belongs to an export, and none is named")

    async def work() -> None:
        from service.audit.verification import Scope, verify_installation
        from service.cli import admin
        from service.embedded.data_dir import default_data_dir
        from service.storage.base import StorageError
        from service.storage.factory import open_blobs

        settings = Settings.load(data_dir=data_dir)
        logs.configure("warning")
        home = (settings.data_dir or default_data_dir()).expanduser().absolute()
        known, unreadable = _load_checkpoints(home / "audit", checkpoint or [])
        keys = _load_keys(home / "audit" / "log.vkey", key)
        trust = _load_trust(settings, witness or [], witnessed or 0)
        since_time = _parse_time(since)
        scope = Scope(
            stream_id=stream,
            since=since_time,
            known=known,
            keys=keys,
            trust=trust,
            processes=processes,
            restores=restored or (),
            unreadable=unreadable,
        )
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
        if progress.imported.versions:
            streams, events = len(progress.imported.versions), progress.imported.events
            say(f"{events:,} events of {streams:,} streams were imported: the log that they come from vouches for them")
        if progress.erased:
            say(f"{progress.erased:,} streams were erased: of them, only the envelopes of events can be checked")
        if progress.unvouched:
            signed = f"for the keys of {progress.unvouched:,} of them only the database vouches"
        say(f"{progress.checkpoints:,} checkpoints were compared with the log; {signed}.")
        self._show_attestations(progress)
        say("Verified: no faults." if not progress.faults else f"{len(progress.faults):,} faults.")

    def _show_attestations(self, progress: Progress) -> None:
        found = progress.attestations
        if found.cosignatures or found.stamps or found.unchecked_stamps:
            say(f"{found.cosignatures:,} cosignatures and {found.stamps:,} time stamps are valid.")
        if found.unchecked_stamps:
            say(f"{found.unchecked_stamps:,} time stamps were not checked: EVERTHREAD_TSA_CERTIFICATES is not set.")
        if found.witnessed is not None:
            say(f"The newest checkpoint that enough witnesses cosigned has {found.witnessed:,} events.")

    def _counts(self, progress: Progress) -> str:
        rate = progress.events / max(monotonic() - self._began, 0.001)
        return f"{progress.events:,} events ({rate:,.0f}/s)"


def _load_checkpoints(folder: Path, given: list[Path]) -> tuple[list[KnownCheckpoint], list[Fault]]:
    """Returns the given checkpoints and those that were kept beside the signing key, and the faults of the latter.

    Raises CommandError if a file cannot be read, or if a given one is no checkpoint.
    """
    from service.audit.faults import Fault
    from service.audit.kept_checkpoints import CheckpointFolder
    from service.audit.log_check import KnownCheckpoint
    from service.audit.notes import FormatError

    own, found, faults = CheckpointFolder(folder), list[KnownCheckpoint](), list[Fault]()
    path = folder
    try:
        kept = [(text, f"a checkpoint in {path}") for text, path in own.read_days()]
        path = own.latest_path
        if path.exists():
            kept.append((path.read_bytes().decode(errors="replace"), f"the checkpoint {path}"))
        for text, source in kept:
            try:
                found.append(KnownCheckpoint.parse(text, source))
            except FormatError as error:
                faults.append(Fault(None, None, f"{source} was changed, or only a part of it was written: {error}"))
    except OSError as error:
        raise CommandError(f"{path} is no checkpoint: {error}") from None
    return [*found, *_load_known(given)], faults


def _load_known(given: list[Path]) -> list[KnownCheckpoint]:
    """Returns the checkpoints in files. Raises CommandError if a file is none."""
    from service.audit.log_check import KnownCheckpoint
    from service.audit.notes import FormatError

    found = list[KnownCheckpoint]()
    for path in given:
        try:
            found.append(KnownCheckpoint.parse(path.read_text(encoding="utf-8"), f"the checkpoint {path}"))
        except (OSError, UnicodeDecodeError, FormatError) as error:
            raise CommandError(f"{path} is no checkpoint: {error}") from None
    return found


def _load_trust(settings: Settings, witnesses: list[str], quorum: int) -> Trust:
    """Returns the witnesses and the roots of the settings and options. Raises CommandError."""
    from service.audit.attestation_check import Trust
    from service.audit.notes import FormatError, VerifierKey
    from service.audit.time_stamps import load_roots
    from service.audit.witnesses import open_witnesses
    from service.system import SystemClock

    try:
        roots = [] if settings.tsa_certificates is None else load_roots(settings.tsa_certificates)
    except ValueError as error:
        raise CommandError(f"EVERTHREAD_TSA_CERTIFICATES: {error}") from None
    try:
        named = [found.id for found in open_witnesses(settings.witnesses, clock=SystemClock())]
    except ValueError as error:
        raise CommandError(f"EVERTHREAD_WITNESSES: {error}") from None
    keys = list[VerifierKey]()
    for given in witnesses or named:
        try:
            keys.append(VerifierKey.parse(given if "+" in given else Path(given).read_text().strip()))
        except (OSError, UnicodeDecodeError, FormatError) as error:
            raise CommandError(f"--witness: {given} is no key of a witness: {error}") from None
    if any(not key.type.is_cosignature for key in keys):
        raise CommandError("--witness: a key is one of a log, and not of a witness")
    # Keys of one witness count once.
    unique = list({key.public_key: key for key in keys}.values())
    if quorum > len(unique):
        raise CommandError(f"--witnessed {quorum} needs the keys of so many witnesses, and {len(unique)} are known")
    return Trust(witnesses=unique, quorum=quorum, roots=roots)


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
