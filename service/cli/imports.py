"""The commands `everthread import-openai` and `everthread import-azure`."""

from __future__ import annotations

import re
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
_THREAD_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
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

    run(_import(path, files, project=project, source=source, dry_run=dry_run, data_dir=data_dir))


def import_azure(
    threads: Annotated[
        Path, typer.Option(exists=True, dir_okay=False, help="A file with the ids of the threads, one a line")
    ],
    folder: Annotated[Path, typer.Option(file_okay=False, help="The folder that the download is kept in")],
    endpoint: Annotated[str, typer.Option(envvar="AZURE_OPENAI_ENDPOINT", help="https://….openai.azure.com")],
    key: Annotated[str, typer.Option(envvar="AZURE_OPENAI_API_KEY", help="The resource's API key")],
    api_version: Annotated[str, typer.Option(help="Azure's api-version")] = "2024-05-01-preview",
    project: ProjectOption = "default",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Download, and import nothing")] = False,
    data_dir: DataDirOption = None,
) -> None:
    """Download assistants, threads, files and vector stores from an Azure OpenAI resource, and import them.

    Azure lists no threads, so their ids come from a file. An interrupted command goes on where it was, with the same
    folder. What Azure does not give is reported, and asked for again by the next command.
    """
    ids = list(dict.fromkeys(line.strip() for line in threads.read_text().splitlines() if line.strip()))
    wrong = next((id for id in ids if not _THREAD_ID.fullmatch(id)), None)
    if wrong is not None:
        raise CommandError(f"--threads: '{printable(wrong, MAX_LINE)}' is no id of a thread")

    async def work() -> None:
        from openai import AsyncAzureOpenAI

        from service.imports.azure_pull import MAX_RETRIES, AzurePull

        async with AsyncAzureOpenAI(
            azure_endpoint=endpoint, api_key=key, api_version=api_version, max_retries=MAX_RETRIES
        ) as client:
            pull = AzurePull(client, folder)
            with _progress() as progress:
                task = progress.add_task("Downloading", total=None)
                await pull.run(ids, lambda: progress.advance(task))
        _print_lines("Not given by Azure", pull.missing)
        await _import(folder, folder / "bytes", project=project, source="azure", dry_run=dry_run, data_dir=data_dir)

    run(work())


async def _import(
    path: Path, files: Path | None, *, project: str, source: str, dry_run: bool, data_dir: Path | None
) -> None:
    """Imports saved objects, and prints the report."""
    from events.envelope import Origin
    from service.cli import admin
    from service.embedded.data_dir import default_data_dir
    from service.files.blob_marker import check_blob_marker
    from service.imports.collection import collect
    from service.imports.importer import FileBytes, ObjectImporter
    from service.imports.saved_files import read_saved
    from service.sandbox.probe import SandboxProbe
    from service.search.factory import open_search_engine
    from service.settings import Settings
    from service.storage.factory import open_blobs
    from service.storage.sealed_blobs import SealedBlobs
    from service.system import RandomIds

    settings, ids = Settings.load(data_dir=data_dir), RandomIds()
    home = (settings.data_dir or default_data_dir()).expanduser()
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    plan = collect(read_saved(path))
    async with open_writer(data_dir) as writer:
        blobs = open_blobs(settings.blobs, home / "blobs")
        place = settings.blobs or str(home / "blobs")
        await check_blob_marker(writer.pool, blobs, place=place, new_marker=ids.token(16))
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
                SealedBlobs(blobs, writer.pool.acquire),
                Origin(await admin.project_id_of(writer.pool, project), admin.actor()),
                source=source,
                files=FileBytes(files),
                embedding_model=engine.indexer.embedding_model,
                can_index=engine.indexer.can_index,
                max_store_files=settings.max_store_files,
                ids=ids,
                dry_run=dry_run,
            )
            with _progress() as progress:
                total = len(plan.files) + len(plan.stores) + len(plan.assistants) + len(plan.threads)
                task = progress.add_task("Importing", total=total)
                report = await importer.run(plan, lambda: progress.advance(task))
        finally:
            await engine.close()
    _print_report(plan, report, dry_run=dry_run)


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
