"""The commands `everthread threads`: list, and delete by filter."""

from __future__ import annotations

from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from service.cli.keys import DataDirOption, open_writer, run, say
from service.errors import CommandError
from service.system import SystemClock

threads = typer.Typer(no_args_is_help=True, help="Threads of a project: list, delete by filter.")

ProjectOption = Annotated[str, typer.Option(help="Id or name of the project")]
MetadataOption = Annotated[list[str] | None, typer.Option("--metadata", help="key=value; if repeated, all must match")]
AfterOption = Annotated[
    str | None, typer.Option(help="Created at or after a date, a date with a time, or Unix seconds")
]
BeforeOption = Annotated[str | None, typer.Option(help="Created before, in the same forms")]


@threads.command("list")
def list_threads(
    project: ProjectOption = "default",
    metadata: MetadataOption = None,
    after: AfterOption = None,
    before: BeforeOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Print the threads that match, oldest first: one JSON object a line, with id, created_at and metadata."""

    async def work() -> None:
        from service.cli import admin, thread_deletion

        found = thread_deletion.filter_of(metadata or [], after, before, SystemClock().now())
        async with open_writer(data_dir) as writer:
            project_id = await admin.project_id_of(writer.pool, project)
            async for page in thread_deletion.find_threads(writer, project_id, found):
                for thread in page:
                    fields = {"id": thread.id, "created_at": thread.created_at, "metadata": thread.metadata}
                    typer.echo(orjson.dumps(fields).decode())

    run(work())


@threads.command("delete")
def delete_threads(
    project: ProjectOption = "default",
    metadata: MetadataOption = None,
    after: AfterOption = None,
    before: BeforeOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be deleted, and delete nothing")] = False,
    every: Annotated[bool, typer.Option("--all", help="Delete all threads of the project")] = False,
    data_dir: DataDirOption = None,
) -> None:
    """Delete the threads that match, with their messages and runs, and print their ids.

    If the command is interrupted, run it again.
    """
    if not (metadata or after or before or every):
        raise CommandError(
            "Choose threads by --metadata, --after or --before, or --all for all threads of the project."
        )

    async def work() -> None:
        from service.cli import admin, thread_deletion

        found = thread_deletion.filter_of(metadata or [], after, before, SystemClock().now())
        async with open_writer(data_dir) as writer:
            project_id = await admin.project_id_of(writer.pool, project)
            total = await thread_deletion.count(writer, project_id, found)
            if dry_run:
                async for page in thread_deletion.find_threads(writer, project_id, found):
                    typer.echo("\n".join(thread.id for thread in page))
                say(f"{total} threads would be deleted.")
                return
            deleted = 0
            with _progress() as progress:
                task = progress.add_task("Deleting threads", total=total)
                async for ids in thread_deletion.delete(writer, project_id, found):
                    deleted += len(ids)
                    if ids:
                        typer.echo("\n".join(ids))
                    progress.update(task, completed=deleted)
        say(f"{deleted} threads deleted.")

    run(work())


def _progress() -> Progress:
    """Returns a progress bar on standard error, since ids are printed to standard output."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)
