"""Verifies an export for `everthread verify EXPORT`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import typer

from service.cli.keys import say
from service.errors import CommandError

if TYPE_CHECKING:
    from service.audit.log_check import KnownCheckpoint
    from service.audit.notes import VerifierKey
    from service.exports.export_check import ExportResult

# Seconds between two lines that report the progress.
REPORT_EVERY_S = 2.0


def verify_export_at(
    place: Path, keys: Sequence[VerifierKey], known: Sequence[KnownCheckpoint], *, passphrase: str | None
) -> None:
    """Prints each fault of the export, and what was verified. Exits with 1 if there is a fault.

    Raises CommandError if the place is no whole export, or if it cannot be read or decrypted.
    """
    from service.exports.containers import read_files
    from service.exports.export_check import verify_export
    from service.exports.layout import ExportFault

    began = last = monotonic()

    def show(result: ExportResult) -> None:
        nonlocal last
        now = monotonic()
        if now - last >= REPORT_EVERY_S:
            last = now
            say(f"{result.events:,} events ({result.events / (now - began):,.0f}/s); {len(result.faults)} faults")

    try:
        result = verify_export(read_files(place, passphrase), keys=keys, known=known, on_progress=show)
    except ExportFault as error:
        raise CommandError(str(error)) from None
    except OSError as error:
        raise CommandError(f"Cannot read {place}: {error.strerror or error}") from None
    for fault in result.faults:
        typer.echo(fault)
    _say_result(result, has_keys=bool(keys))
    if result.faults:
        raise typer.Exit(1)


def _say_result(result: ExportResult, *, has_keys: bool) -> None:
    manifest = result.manifest
    if manifest is not None:
        scope = manifest.scope
        parts = [f"{name} {value}" for name, value in scope.model_dump(exclude={"files"}).items() if value is not None]
        named = " and ".join(parts) or "the whole installation"
        say(f"The export says that it is of {named}, made at {manifest.made_at}.")
        total = sum(epoch.size for epoch in manifest.epochs)
        if has_keys:
            say(f"The signatures of the given key cover {result.signed:,} of the {total:,} events of the log.")
        else:
            say("No public key was given: only the export itself says of which installation it is. See --key.")
    if result.erased:
        say(f"{result.erased:,} events have no contents: they were erased before the export.")
    if result.unexplained:
        say(f"This part of the log does not say that {result.unexplained:,} of their streams were erased.")
    say(f"{result.events:,} events and the bytes of {result.blobs:,} files were compared with the log of the export.")
    if manifest is not None and manifest.missing_blobs:
        say(f"The bytes of {len(manifest.missing_blobs):,} files were missing when the export was made.")
    say("Verified: no faults." if not result.faults else f"{len(result.faults):,} faults.")
