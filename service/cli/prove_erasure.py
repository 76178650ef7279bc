"""The command `everthread prove-erasure`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from service.cli import logs
from service.cli.keys import DataDirOption, run, say
from service.errors import CommandError
from service.settings import Settings

if TYPE_CHECKING:
    from service.erasure.proof import ErasureProof


def prove_erasure(
    thread: Annotated[str, typer.Argument(help="The thread, or another deleted object, such as thread_…")],
    json: Annotated[bool, typer.Option("--json", help="Print one object of JSON")] = False,
    data_dir: DataDirOption = None,
) -> None:
    """Show that a deleted thread cannot be read: its events, when and by whom its key was destroyed, and its forks.

    The exit code is 1 if the thread is not erased. `everthread prove` makes proofs that its events, and those of its
    erasure, are in the log.
    """

    async def work() -> None:
        from service.cli import admin
        from service.database import connect
        from service.erasure.proof import prove_erasure as prove

        settings = Settings.load(data_dir=data_dir)
        logs.configure("warning")
        async with admin.open_database(settings) as url:
            db = await connect(url, is_lenient=True)
            try:
                proof = await prove(db, thread)
            finally:
                await db.close()
        if proof is None:
            raise CommandError(f"There is no {thread}.")
        if json:
            typer.echo(orjson.dumps(proof.to_json()).decode())
        else:
            _print(proof)
        if proof.problem is not None:
            raise CommandError(f"{thread} is not erased: {proof.problem}.")

    run(work())


def _print(proof: ErasureProof) -> None:
    from sql.seals import is_sealed

    for event in proof.events:
        content = "erased" if is_sealed(event.content) else "readable"
        typer.echo(
            f"{event.version}  {event.at.isoformat()}  {event.type}  {event.actor}  {content}  {event.leaf.hex()}"
        )
    if (deletion := proof.deletion) is not None:
        typer.echo(f"Deleted by {deletion.actor} at {deletion.at.isoformat()}, in version {deletion.version}.")
    for each in proof.destructions:
        place = f"installation/{each.version}"
        typer.echo(f"Key {each.key_id} destroyed by {each.actor} at {each.at.isoformat()}: {place}.")
    typer.echo("The database has no key of it." if proof.stored_key is None else f"Its key is {proof.stored_key}.")
    for thread, exists in proof.forks.items():
        typer.echo(f"Fork: {thread}, which {'exists' if exists else 'is deleted'}.")
    for fault in proof.faults:
        say(fault)
