"""The command `everthread rebuild`."""

from __future__ import annotations

from collections.abc import Collection
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from service.cli import logs
from service.cli.keys import DataDirOption, run, say
from service.errors import CommandError
from service.settings import Settings

if TYPE_CHECKING:
    from projections.row_differences import Difference
    from service.replay.view_rebuild import BatchResult, RebuildProgress

# Stands for the rows of the reports of usage, which no append writes.
USAGE = "usage"
# Seconds between two lines of progress if the output is not a terminal.
REPORT_EVERY_S = 2.0
# Characters of a value that a difference shows.
MAX_VALUE = 200


def rebuild(
    views: Annotated[
        list[str] | None,
        typer.Argument(help="Views such as messages or runs; default: all. usage: the reports of usage"),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Only compare, and print every difference")] = False,
    max_load: Annotated[float, typer.Option(min=0.01, max=256, help="Share of one core that the work may use")] = 0.5,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin again, if an earlier rebuild was broken off")
    ] = False,
    data_dir: DataDirOption = None,
) -> None:
    """Make the views from the events again, while servers run.

    Streams are rebuilt in short transactions: readers see the old rows or the new ones. A rebuild that was broken off
    goes on where it ended. The exit code is 1 if --check finds a difference, or if the events of a stream do not lead
    to rows.
    """

    names = frozenset(views or ())
    if check and USAGE in names:
        raise CommandError(f"--check compares views with their events; {USAGE} can only be made again.")

    async def work() -> None:
        from service.cli import admin
        from service.replay.view_rebuild import RebuildBusy, RebuildScope, rebuild_views

        scope = RebuildScope(
            views=frozenset() if names == {USAGE} else parse_views(names - {USAGE}),
            check=check,
            max_load=max_load,
            restart=restart,
        )
        settings = Settings.load(data_dir=data_dir)
        logs.configure("warning")
        async with admin.open_database(settings) as url:
            if USAGE in names:
                await _rebuild_usage(url)
            if not scope.views:
                return
            with RebuildReport() as report:
                try:
                    progress = await rebuild_views(url, scope, report.show)
                except RebuildBusy:
                    raise CommandError("Another rebuild of this database is at work: wait for its end.") from None
        report.finish(progress, check=check)
        if progress.differences or progress.broken:
            raise typer.Exit(1)

    run(work())


async def _rebuild_usage(url: str) -> None:
    """Makes the rows of the reports of usage again, in one transaction."""
    from service.database import connect
    from service.usage.follower import rebuild_usage

    began, db = monotonic(), await connect(url)
    try:
        await rebuild_usage(db)
    finally:
        await db.close()
    say(f"The reports of usage were made again in {monotonic() - began:,.1f} s.")


def parse_views(names: Collection[str]) -> frozenset[str]:
    """Returns the views of these names, or all if there is none. Raises CommandError."""
    from projections.generations import GENERATIONS
    from projections.rebuild import ALL_VIEWS

    known = ALL_VIEWS | {table for generation in GENERATIONS for table in generation.tables}
    for name in names:
        if name not in known:
            raise CommandError(f"There is no view '{name}'. The views are {', '.join(sorted(known))}.")
    return frozenset(names) or ALL_VIEWS


class RebuildReport:
    """Shows the progress on standard error, and prints differences to standard output."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("events"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=self._console, transient=True, disable=not self._console.is_terminal)
        self._task = self._bar.add_task("Views", total=None, rate="")
        self._began = self._last = monotonic()
        self._first: int | None = None

    def __enter__(self) -> RebuildReport:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, progress: RebuildProgress, result: BatchResult) -> None:
        """Shows the work so far, and prints what the batch found."""
        if self._first is None:
            self._first = progress.events - result.events
            if progress.resumed_after is not None:
                say(f"Goes on after {progress.resumed_after}, where an earlier rebuild ended.")
        for difference in result.differences:
            typer.echo(describe(difference))
        for reason in result.broken.values():
            typer.echo(reason)
        rate = f"{self._rate(progress):,.0f}/s"
        self._bar.update(self._task, total=progress.total_events, completed=progress.events, rate=rate)
        now = monotonic()
        if not self._console.is_terminal and now - self._last >= REPORT_EVERY_S:
            self._last = now
            say(f"{progress.events:,} of {progress.total_events:,} events ({rate})")

    def finish(self, progress: RebuildProgress, *, check: bool) -> None:
        """Prints the result to standard error."""
        seconds = monotonic() - self._began
        done = "compared" if check else "rebuilt"
        say(f"{progress.streams:,} streams with {progress.events:,} events {done} in {seconds:,.1f} s.")
        if check and progress.differences:
            say(f"{progress.differences:,} rows differ.")
        elif check and not progress.broken:
            say("The views are those of the events.")
        if progress.broken:
            say(f"The events of {len(progress.broken):,} streams lead to no rows: everthread verify names the faults.")

    def _rate(self, progress: RebuildProgress) -> float:
        return (progress.events - (self._first or 0)) / max(monotonic() - self._began, 0.001)


def describe(difference: Difference) -> str:
    """Returns a line that names the row and says how it differs."""
    row = f"{difference.stream_id}: {difference.view} {difference.id}"
    if difference.served is None:
        return f"{row}: the row is missing"
    if difference.rebuilt is None:
        return f"{row}: no event leads to the row"
    columns = "; ".join(
        f"{name} is {_short(difference.served[name])} instead of {_short(difference.rebuilt[name])}"
        for name in difference.columns
    )
    return f"{row}: {columns}"


def _short(value: object) -> str:
    """Returns the value as text of one line, cut after MAX_VALUE characters."""
    if isinstance(value, list):
        return "[" + ", ".join(_short(element) for element in value) + "]"
    text = value.decode(errors="replace") if isinstance(value, bytes) else repr(value)
    return text if len(text) <= MAX_VALUE else f"{text[:MAX_VALUE]}… ({len(text):,} characters)"
