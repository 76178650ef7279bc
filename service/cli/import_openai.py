"""The command `everthread import-openai`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from service.cli.keys import DataDirOption, open_writer, run
from service.cli.show import printable
from service.cli.threads import ProjectOption
from service.errors import CommandError

if TYPE_CHECKING:
    from service.imports.collection import ImportPlan
    from service.imports.importer import ImportReport
    from service.imports.saved_files import Unread

MAX_SOURCE = 256  # characters
MAX_LINE = 500  # characters that are printed of a place and of a reason


def import_openai(
    path: Annotated[
        Path, typer.Argument(exists=True, help="Saved objects: a file, or a folder of JSON, JSON Lines and CSV")
    ],
    files: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="A folder with the bytes of files, each under its id or name"),
    ] = None,
    project: ProjectOption = "default",
    source: Annotated[str, typer.Option(help="Where the objects come from, as events will say")] = "openai",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would come, and import nothing")] = False,
    data_dir: DataDirOption = None,
) -> None:
    """Import assistants, threads, messages, runs, steps, files and vector stores that were saved from the original.

    Ids and times are kept. What is there already is left as it is, so the command can be repeated, for example when
    more files are in the folder. Servers may keep running.
    """
    if not 0 < len(source) <= MAX_SOURCE:
        raise CommandError(f"--source: write 1 to {MAX_SOURCE} characters")

    async def work() -> None:
        from events.envelope import Origin
        from service.cli import admin
        from service.embedded.data_dir import default_data_dir
        from service.imports.collection import collect
        from service.imports.importer import FileBytes, ObjectImporter
        from service.imports.saved_files import read_saved
        from service.sandbox.probe import SandboxProbe
        from service.search.factory import open_search_engine
        from service.settings import Settings
        from service.storage.factory import open_blobs
        from service.system import RandomIds

        settings = Settings.load(data_dir=data_dir)
        home = (settings.data_dir or default_data_dir()).expanduser()
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        plan = collect(read_saved(path))
        async with open_writer(data_dir) as writer:
            engine = open_search_engine(
                writer.pool,
                SandboxProbe(settings.sandbox_dir, packages=settings.code_package_set),
                home / "import.log",
                now=writer.clock.now,
                base_url=settings.embedding_base_url,
                model=settings.embedding_model,
                api_key=None,
            )
            try:
                importer = ObjectImporter(
                    writer,
                    open_blobs(settings.blobs, home / "blobs"),
                    Origin(await admin.project_id_of(writer.pool, project), admin.actor()),
                    source=source,
                    files=FileBytes(files),
                    embedding_model=engine.indexer.embedding_model,
                    can_index=engine.indexer.can_index,
                    max_store_files=settings.max_store_files,
                    ids=RandomIds(),
                    dry_run=dry_run,
                )
                with _progress() as progress:
                    total = len(plan.files) + len(plan.stores) + len(plan.assistants) + len(plan.threads)
                    task = progress.add_task("Importing", total=total)
                    report = await importer.run(plan, lambda: progress.advance(task))
            finally:
                await engine.close()
        _print_report(plan, report, dry_run=dry_run)

    run(work())


def _progress() -> Progress:
    """Returns a progress bar on standard error."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


def _print_report(plan: ImportPlan, report: ImportReport, *, dry_run: bool) -> None:
    table = Table(title="Would be imported" if dry_run else "Imported", title_justify="left")
    for heading in ("kind", "new", "there before"):
        table.add_column(heading, justify="left" if heading == "kind" else "right")
    for kind in dict.fromkeys((*report.imported, *report.present)):
        table.add_row(kind, str(report.imported[kind]), str(report.present[kind]))
    Console().print(table)
    _print_lines("Changed or completed", plan.notes)
    _print_lines("Not imported", report.skipped)


def _print_lines(heading: str, lines: list[Unread]) -> None:
    if lines:
        typer.echo(f"{heading}: {len(lines)}")
        for line in lines:
            typer.echo(f"  {printable(line.place, MAX_LINE)}: {printable(line.reason, MAX_LINE)}")
