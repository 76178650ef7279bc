"""`everthread replay --check`: where today's software would act otherwise than a recorded history says."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import orjson
import typer

from service.cli import logs
from service.cli.keys import run, say
from service.cli.show import printable
from service.errors import CommandError
from service.settings import Settings

if TYPE_CHECKING:
    from service.database import Pool
    from service.replay.check_history import CheckProgress, CheckScope, HistoryCheck
    from service.replay.deviations import Deviation

# Seconds between two lines that report the progress.
REPORT_EVERY_S = 2.0
# Ending of the files of recorded histories.
SUFFIX = ".jsonl"
# Characters of a line of a deviation.
MAX_LINE = 1000


@dataclass(slots=True)
class CheckTargets:
    """The targets of a check: files, runs, streams by id, and projects by id or name."""

    files: list[Path] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    streams: list[str] = field(default_factory=list)
    projects: list[str] = field(default_factory=list)


def check(targets: Sequence[str], *, as_json: bool, data_dir: Path | None) -> None:
    """Checks the targets, by default the whole installation. Ends with exit code 1 if there is a deviation."""

    async def work() -> None:
        from service.replay.check_history import HistoryCheck

        wanted = parse_targets(targets)
        # Both hosted tools perform a call again if its process died.
        history = HistoryCheck(lambda _: "again", frozenset(wanted.runs))
        report = CheckReport(history.progress, as_json=as_json)
        for path in wanted.files:
            for deviation in _check_file(history, path, report):
                report.add(deviation)
        if wanted.runs or wanted.streams or wanted.projects or not targets:
            async for deviation in _check_database(history, wanted, report, data_dir, is_whole=not targets):
                report.add(deviation)
        report.finish()
        if history.progress.deviations:
            raise typer.Exit(1)

    run(work())


def parse_targets(targets: Sequence[str]) -> CheckTargets:
    """Returns the targets by their kind. A folder stands for the files in it. Raises CommandError."""
    found = CheckTargets()
    for target in targets:
        path = Path(target)
        if path.is_dir():
            inside = sorted(path.glob(f"*{SUFFIX}"))
            if not inside:
                raise CommandError(f"The folder {path} has no {SUFFIX} files.")
            found.files += inside
        elif path.is_file():
            found.files.append(path)
        elif target.endswith(SUFFIX):
            raise CommandError(f"There is no file {path}.")
        elif target.startswith("run_"):
            found.runs.append(target)
        elif target.startswith("thread_"):
            found.streams.append(target)
        else:
            found.projects.append(target)
    return found


class CheckReport:
    """Prints deviations to standard output, and progress and the result to standard error."""

    def __init__(self, progress: CheckProgress, *, as_json: bool) -> None:
        self._progress = progress
        self._as_json = as_json
        self._began = self._last = monotonic()
        self._before = 0

    def add(self, deviation: Deviation) -> None:
        """Prints a deviation."""
        if self._as_json:
            sys.stdout.write(orjson.dumps(deviation.to_json()).decode() + "\n")
        else:
            typer.echo("\n".join(printable(line, MAX_LINE) for line in describe(deviation)))

    def tick(self) -> None:
        """Prints the progress if REPORT_EVERY_S seconds have passed since the last line."""
        now = monotonic()
        if now - self._last < REPORT_EVERY_S:
            return
        rate = (self._progress.events - self._before) / (now - self._last)
        self._last, self._before = now, self._progress.events
        total = self._progress.total_events
        of = "" if total is None else f" of {total:,}"
        left = "" if total is None else f", {(total - self._progress.events) / max(rate, 1):,.0f} s left"
        say(f"{self._progress.events:,}{of} events ({rate:,.0f}/s{left}); {self._progress.deviations:,} deviations")

    def finish(self) -> None:
        """Prints the result."""
        progress, seconds = self._progress, monotonic() - self._began
        rate = progress.events / max(seconds, 0.001)
        streams = f"{progress.streams:,} streams with {progress.events:,} events"
        say(f"{streams} checked in {seconds:,.1f} s ({rate:,.0f} events/s).")
        if progress.prompts or progress.unchecked_prompts:
            unchecked = (
                f"; {progress.unchecked_prompts:,} others cannot be compared" if progress.unchecked_prompts else ""
            )
            say(f"{progress.prompts:,} recorded requests of model calls were rendered again{unchecked}.")
        for name, count in sorted(progress.newer_fields.items()):
            say(f"{count:,} events lack {name}, which the software that wrote them did not have: no deviation.")
        if progress.left_out:
            say(f"{progress.left_out:,} further deviations of the same streams are not printed.")
        say("Today's software acts the same." if not progress.deviations else f"{progress.deviations:,} deviations.")


def describe(deviation: Deviation) -> list[str]:
    """Returns the lines of a deviation for people."""
    time = f"{deviation.at.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3]
    of_run = "" if deviation.run_id is None else f" ({deviation.run_id})"
    return [
        f"{deviation.stream_id} {deviation.version} {time} {deviation.type}{of_run}: {deviation.part} differs",
        f"  recorded: {deviation.recorded}",
        f"  today:    {deviation.today}",
        *(f"  {line}" for line in deviation.diff),
    ]


def _check_file(history: HistoryCheck, path: Path, report: CheckReport) -> Iterator[Deviation]:
    from service.replay.check_history import check_file

    try:
        yield from check_file(history, path, report.tick)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror or error}") from None
    except ValueError as error:
        raise CommandError(str(error)) from None


async def _check_database(
    history: HistoryCheck, wanted: CheckTargets, report: CheckReport, data_dir: Path | None, *, is_whole: bool
) -> AsyncIterator[Deviation]:
    from service.cli import admin
    from service.database import open_pool
    from service.replay.check_history import check_database

    settings = Settings.load(data_dir=data_dir)
    logs.configure("warning")
    async with admin.open_database(settings) as url:
        pool = await open_pool(url)
        try:
            for scope in await _scopes(pool, wanted, is_whole=is_whole):
                async for deviation in check_database(history, pool, scope, report.tick):
                    yield deviation
        finally:
            pool.terminate()


async def _scopes(pool: Pool, wanted: CheckTargets, *, is_whole: bool) -> list[CheckScope]:
    """Returns the histories to read. Raises CommandError if a run, a stream or a project does not exist."""
    from events.errors import NotFound
    from service.cli import admin
    from service.replay.check_history import CheckScope, find_erased, find_missing
    from service.replay.run_reader import thread_of_run

    if is_whole:
        return [CheckScope()]
    try:
        threads = [await thread_of_run(pool, run_id) for run_id in wanted.runs]
    except NotFound as error:
        raise CommandError(error.message) from None
    missing = await find_missing(pool, wanted.streams)
    if missing:
        raise CommandError(f"There is no {missing[0]}.")
    streams = list(dict.fromkeys([*threads, *wanted.streams]))
    if erased := await find_erased(pool, streams):
        raise CommandError(f"The contents of {erased[0]} were erased.")
    projects = [CheckScope(project_id=await admin.project_id_of(pool, name)) for name in wanted.projects]
    return [*([CheckScope(stream_ids=streams)] if streams else []), *projects]
