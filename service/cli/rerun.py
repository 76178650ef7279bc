"""The command `everthread rerun`: runs a fork from before a run, and compares the answers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from service.cli.fork import origin_of
from service.cli.keys import DataDirOption, open_writer, run, say
from service.cli.replay import lookup
from service.cli.run_lines import dollars
from service.cli.show import printable
from service.errors import CommandError
from service.settings import Settings
from service.system import RandomIds

if TYPE_CHECKING:
    from service.forks.rerun import RunReport

# Characters of an answer that are printed for people, and the most reruns of a command.
MAX_ANSWER = 2_000
MAX_REPEATS = 100
_FIGURES = ("prompt_tokens", "completion_tokens", "seconds", "dollars")


def rerun(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="The run, such as run_…, which has ended")],
    model: Annotated[str | None, typer.Option(help="Another model")] = None,
    instructions: Annotated[str | None, typer.Option(help="Other instructions")] = None,
    tools: Annotated[Path | None, typer.Option(help="A file with other tools: a JSON array, as in the API")] = None,
    repeat: Annotated[int, typer.Option(min=1, max=MAX_REPEATS, help="The number of reruns")] = 1,
    thread: Annotated[str | None, typer.Option(help="Its thread, if it is known: the run is found at once")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object")] = False,
    data_dir: DataDirOption = None,
) -> None:
    """Run a fork from before a run, with changes, and print both answers, tokens, times and costs side by side.

    A server must run on the database: it executes the rerun. Functions are not called: their recorded outputs are
    submitted again, and a call without one cancels the rerun.
    """

    async def work() -> None:
        from events.errors import DomainError
        from projections import runs
        from service.forks.forks import Forks
        from service.forks.rerun import OutputMissing, Reruns
        from service.replay.run_reader import thread_of_run
        from service.replay.time_travel import TimeTravel

        settings = Settings.load(data_dir=data_dir)
        prices, ids = lookup(settings).prices, RandomIds()
        async with open_writer(data_dir) as writer:
            thread_id = thread or await thread_of_run(writer.pool, run_id)
            origin = await origin_of(writer, thread_id)
            async with writer.pool.acquire() as db:
                found = await runs.get(db, origin.project_id, thread_id, run_id)
            changes = _changes(found.assistant_id, model=model, instructions=instructions, tools=tools)
            forks = Forks(writer, TimeTravel(writer.pool, writer.clock))
            reruns = Reruns(writer, forks, prices, ids=ids, lifetime=settings.run_expires_s)
            recorded = await reruns.report(origin.project_id, found)
            reports: list[RunReport] = []
            ids_of_reruns = [reruns.new_ids() for _ in range(repeat)]
            try:
                for number, new in enumerate(ids_of_reruns, start=1):
                    report = await reruns.rerun(origin, found, changes, new)
                    reports.append(report)
                    if repeat > 1:
                        say(f"{number} of {repeat}: {report.run_id} in the fork {report.thread_id}, {report.status}")
            except (asyncio.CancelledError, DomainError) as error:
                left = (
                    "" if isinstance(error, OutputMissing) else await reruns.cancel(origin, ids_of_reruns[len(reports)])
                )
                _print_reports(recorded, reports, as_json=json, is_pair=repeat == 1)
                if left:
                    say(left)
                raise
        _print_reports(recorded, reports, as_json=json, is_pair=repeat == 1)

    run(work())


def _print_reports(recorded: RunReport, reports: Sequence[RunReport], *, as_json: bool, is_pair: bool) -> None:
    """Prints the reruns that have ended, if there are any."""
    if not reports:
        return
    if as_json:
        typer.echo(orjson.dumps(_render(recorded, reports)).decode())
    elif is_pair:
        print_pair(recorded, reports[0], Console())
    else:
        print_spread(recorded, reports, Console())


def _changes(assistant_id: str, *, model: str | None, instructions: str | None, tools: Path | None) -> dict[str, Any]:
    """Returns the settings that the options change, checked as those of a request. Raises Rejection."""
    from service.wire import v2

    given: dict[str, Any] = {"assistant_id": assistant_id}
    if model is not None:
        given["model"] = model
    if instructions is not None:
        given["instructions"] = instructions
    if tools is not None:
        try:
            given["tools"] = orjson.loads(tools.read_bytes())
        except (OSError, orjson.JSONDecodeError) as error:
            raise CommandError(f"--tools: {error}") from None
    return v2.WIRE.parse_new_run(given, RandomIds()).overrides


def print_pair(recorded: RunReport, new: RunReport, console: Console) -> None:
    """Prints the ids of the run and its rerun on a line each, then both side by side.

    If the output is no terminal, the facts are lines too.
    """
    pairs = list(zip(_NAMES, _cells(recorded), _cells(new), strict=True))
    for title, report in (("recorded", recorded), ("rerun", new)):
        console.print(Text(f"{title}: {report.run_id} in {report.thread_id}"), soft_wrap=True)
    if not console.is_terminal:
        for name, one, other in pairs:
            console.print(Text(f"recorded {name}: {one}\nrerun {name}: {other}"), soft_wrap=True)
        return
    table = Table(show_lines=True)
    table.add_column("")
    table.add_column("recorded", ratio=1, overflow="fold")
    table.add_column("rerun", ratio=1, overflow="fold")
    for name, one, other in pairs:
        table.add_row(name, Text(one), Text(other, "bold" if one != other else ""))
    console.print(table)


_NAMES = (
    "model",
    "status",
    "error",
    "answer",
    "prompt tokens",
    "completion tokens",
    "seconds",
    "cost",
)


def _cells(report: RunReport) -> tuple[str, ...]:
    return (
        printable(report.model, MAX_ANSWER),
        report.status,
        printable(report.error or "", MAX_ANSWER),
        printable(report.answer, MAX_ANSWER),
        f"{report.prompt_tokens:,}",
        f"{report.completion_tokens:,}",
        f"{report.seconds:.2f}",
        "" if report.dollars is None else dollars(report.dollars),
    )


def print_spread(recorded: RunReport, reports: Sequence[RunReport], console: Console) -> None:
    """Prints the figures of the run beside the least, the median and the greatest of its reruns, and the answers."""
    table = Table()
    for heading in ("", "recorded", "min", "median", "max"):
        table.add_column(heading)
    for name in _FIGURES:
        spread = _spread(reports, name)
        values = (getattr(recorded, name), *(spread[key] for key in ("min", "median", "max")))
        table.add_row(name.replace("_", " "), *map(_figure, values))
    console.print(table)
    statuses = Counter(report.status for report in reports)
    console.print(Text(", ".join(f"{count} {status}" for status, count in statuses.most_common())))
    answers = Counter(report.answer for report in reports)
    console.print(Text(f"{len(answers)} distinct answers", "bold"))
    for answer, count in answers.most_common():
        mark = " (as recorded)" if answer == recorded.answer else ""
        console.print(Text(f"{count} ×{mark}: {printable(answer, MAX_ANSWER)}"))


def _spread(reports: Sequence[RunReport], name: str) -> dict[str, Any]:
    values = [value for report in reports if (value := getattr(report, name)) is not None]
    if not values:
        return {"min": None, "median": None, "max": None}
    return {"min": min(values), "median": median(values), "max": max(values)}


def _figure(value: Any) -> str:
    match value:
        case None:
            return ""
        case Decimal():
            return dollars(value)
        case float():
            return f"{value:.2f}"
        case _:
            return f"{value:,}"


def _render(recorded: RunReport, reports: Sequence[RunReport]) -> dict[str, Any]:
    """Returns the reports as JSON. Amounts in dollars are texts, so that nothing is rounded."""
    return {
        "recorded": _fields(recorded),
        "reruns": [_fields(report) for report in reports],
        "spread": {name: {key: _plain(v) for key, v in _spread(reports, name).items()} for name in _FIGURES},
        "distinct_answers": len({report.answer for report in reports}),
    }


def _fields(report: RunReport) -> dict[str, Any]:
    return {name: _plain(getattr(report, name)) for name in type(report).__slots__}


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Decimal) else value
