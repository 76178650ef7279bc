"""The command `everthread replay`: the timeline of a run."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from datetime import UTC
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.text import Text

from service.cli import logs, replay_check
from service.cli.keys import DataDirOption, run, say
from service.cli.show import printable
from service.errors import CommandError
from service.settings import Settings

if TYPE_CHECKING:
    from service.replay.run_reader import RunReader
    from service.replay.run_timeline import TimelineEntry

# Characters of a summary that are printed for people.
MAX_SUMMARY = 300


def replay(
    targets: Annotated[
        list[str] | None, typer.Argument(metavar="RUN", help="The run, such as run_…; with --check any targets")
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Compare today's software with the history of runs, threads, projects or files"),
    ] = False,
    thread: Annotated[str | None, typer.Option(help="Its thread, if it is known: the run is found at once")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the run has ended")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print an object for each event, one a line")] = False,
    data_dir: DataDirOption = None,
) -> None:
    """Print the events of a run, what each led to, and the action that the server chose after each append.

    With --check: run today's software over recorded history, that of the whole installation if no target is given, and
    print where it would act otherwise. Then the exit code is 1.
    """
    if check:
        replay_check.check(targets or [], as_json=json, data_dir=data_dir)
        return
    if targets is None or len(targets) != 1:
        raise CommandError("Name one run: everthread replay run_….")
    [run_id] = targets

    async def work() -> None:
        from events.errors import DomainError
        from service.cli import admin
        from service.database import open_pool
        from service.replay.run_reader import RunReader, thread_of_run

        settings = Settings.load(data_dir=data_dir)
        logs.configure("warning")
        async with admin.open_database(settings) as url:
            pool = await open_pool(url)
            try:
                thread_id = thread or await thread_of_run(pool, run_id)
                # Both hosted tools perform a call again if its process died.
                reader = RunReader(pool, thread_id, run_id, lambda _: "again")
                await _print(reader, reader.follow() if follow else reader.entries(), as_json=json)
            except DomainError as error:
                raise CommandError(error.message) from None
            finally:
                pool.terminate()

    run(work())


async def _print(reader: RunReader, entries: AsyncIterator[TimelineEntry], *, as_json: bool) -> None:
    console, last = Console(), None
    async for entry in entries:
        if as_json:
            sys.stdout.write(orjson.dumps(render_entry(entry)).decode() + "\n")
            sys.stdout.flush()
        else:
            for line in entry_lines(entry, is_first=last is None):
                console.print(line, soft_wrap=True)
        last = entry
    if last is None:
        raise CommandError(f"The thread has no run '{reader.timeline.run_id}'.")
    if not as_json and not reader.timeline.has_ended:
        say("The run goes on: --follow waits for its end.")


def render_entry(entry: TimelineEntry) -> dict[str, Any]:
    """Returns the entry as JSON: the envelope and the content of its event, and what was derived from it."""
    from events import codec
    from events.actors import actor_text

    recorded = entry.recorded
    return {
        "version": recorded.version,
        "at": recorded.at.astimezone(UTC).isoformat(timespec="microseconds"),
        "gap_s": entry.gap_s,
        "type": recorded.event.type,
        "actor": actor_text(recorded.actor),
        "request_id": recorded.request_id,
        "summary": entry.summary,
        "action": entry.action_text,
        "is_failure": entry.is_failure,
        "content": orjson.loads(codec.dump(recorded.event)),
    }


def entry_lines(entry: TimelineEntry, *, is_first: bool) -> list[Text]:
    """Returns the lines of an entry for people: the event, and the action after it, with escapes for control
    characters.
    """
    from events.actors import actor_text

    recorded, style = entry.recorded, "bold red" if entry.is_failure else ""
    time = f"{recorded.at.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3]
    when = time if is_first else f"{'+' + _seconds(entry.gap_s):>{len(time)}}"
    summary = printable(entry.summary, MAX_SUMMARY)
    line = Text.assemble(
        (f"{recorded.version:>6}  {when}  ", "dim"),
        (f"{recorded.event.type:<22}", style or "bold"),
        (f" {summary}", style),
        (f"  {actor_text(recorded.actor)}", "dim"),
    )
    if entry.action_text is None:
        return [line]
    return [line, Text(f"{'':>{len(time) + 10}}→ {printable(entry.action_text, MAX_SUMMARY)}", "cyan")]


def _seconds(gap: float) -> str:
    return f"{gap * 1000:.0f} ms" if gap < 1 else f"{gap:.1f} s"
