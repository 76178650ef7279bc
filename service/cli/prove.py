"""The command `everthread prove`: writes proofs for a third party."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.keys import DataDirOption, open_writer, say
from service.errors import CommandError

if TYPE_CHECKING:
    from service.audit.notes import Note
    from sql.connection import Connection

MAX_CHECKPOINT_BYTES = 1_000_000


def prove(
    event: Annotated[str | None, typer.Argument(help="The event: its stream, a slash, and its version")] = None,
    content: Annotated[bool, typer.Option("--content", help="Also show the event's content")] = False,
    consistency: Annotated[
        tuple[str, str] | None,
        typer.Option(help="Instead: an older checkpoint (a file, or its size), and a newer one (also: latest)"),
    ] = None,
    verifier: Annotated[
        bool, typer.Option("--verifier", help="Instead: print the program that verifies proofs")
    ] = False,
    output: Annotated[Path | None, typer.Option(help="The file to write (default: standard output)")] = None,
    data_dir: DataDirOption = None,
) -> None:
    """Write a proof that an event is in the log (.tlog-proof), or that the log has only grown."""
    if [event, consistency].count(None) + (not verifier) != 2:
        raise CommandError("Name an event (thread_…/5), or use --consistency OLD NEW, or --verifier")
    if content and event is None:
        raise CommandError("--content needs an event")

    if event is not None:
        text = asyncio.run(_event_proof(event, data_dir, has_content=content))
    elif consistency is not None:
        old, new = consistency
        text = asyncio.run(_growth_proof(old, new, data_dir))
    else:
        from service.audit import verify_proof

        text = Path(verify_proof.__file__).read_text(encoding="utf-8")
    _write(text, output)


async def _event_proof(event: str, data_dir: Path | None, *, has_content: bool) -> str:
    from service.audit.event_proofs import prove_event

    stream_id, _, version = event.rpartition("/")
    if not stream_id or not (version.isascii() and version.isdigit()) or not 0 < int(version[:19]) == int(version):
        raise CommandError("An event is named by its stream and version, such as thread_abc/5")
    async with _connection(data_dir) as db:
        return str(await prove_event(db, stream_id, int(version), has_content=has_content))


async def _growth_proof(old: str, new: str, data_dir: Path | None) -> str:
    from service.audit.checkpoint import render_witness_request
    from service.audit.event_proofs import prove_growth

    async with _connection(data_dir) as db:
        proof = await prove_growth(db, _checkpoint(old), None if new == "latest" else _checkpoint(new))
        return render_witness_request(proof.old_size, proof.hashes, proof.note)


def _checkpoint(named: str) -> Note | int:
    """Returns the size, or the checkpoint in the file."""
    from service.audit.checkpoint import Checkpoint, parse_number
    from service.audit.notes import FormatError, Note

    try:
        if named.isdigit():
            return parse_number(named)
        with Path(named).open("rb") as file:
            note = Note.parse(file.read(MAX_CHECKPOINT_BYTES).decode())
        Checkpoint.parse(note.text)
    except OSError as error:
        raise CommandError(f"Cannot read the checkpoint {named}: {error.strerror}") from None
    except (FormatError, UnicodeDecodeError) as error:
        raise CommandError(f"{named} is no checkpoint: {error}") from None
    return note


@asynccontextmanager
async def _connection(data_dir: Path | None) -> AsyncIterator[Connection]:
    from service.audit.event_proofs import NoProof
    from service.audit.log_tree import LogFault

    try:
        async with open_writer(data_dir) as writer, writer.pool.acquire() as db:
            yield db
    except NoProof as error:
        raise CommandError(f"There is no proof: {error}") from None
    except LogFault as error:
        raise CommandError(f"The log is broken: {error}") from None


def _write(text: str, output: Path | None) -> None:
    if output is None:
        sys.stdout.write(text)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"Cannot write {output}: {error.strerror}") from None
    say(f"Wrote {output}.")
