"""The command `everthread replay`: the timeline of a run."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer
from rich.console import Console
from rich.text import Text

from service.cli import logs, replay_check, replay_record
from service.cli.keys import DataDirOption, run, say
from service.cli.replay_steps import step_through
from service.cli.run_lines import dollars, entry_lines, prompt_lines
from service.cli.run_reports import print_diff, read_entries, write_bundle
from service.errors import CommandError
from service.settings import Settings

if TYPE_CHECKING:
    from service.replay.model_lookup import ModelLookup
    from service.replay.run_reader import RunReader
    from service.replay.run_timeline import TimelineEntry

# The options that select another output than the timeline, each with the options that have an effect beside it.
_COMPANIONS: dict[str, frozenset[str]] = {
    "--check": frozenset({"--json"}),
    "--record": frozenset({"--deleted", "--without-texts"}),
    "--bundle": frozenset({"--thread", "--deleted"}),
    "--diff": frozenset({"--json", "--thread", "--deleted"}),
    "--step": frozenset({"--thread", "--deleted"}),
    "--follow": frozenset({"--json", "--thread", "--deleted"}),
}


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
    step: Annotated[bool, typer.Option("--step", help="Go through the events with keys, in a terminal")] = False,
    diff: Annotated[str | None, typer.Option("--diff", metavar="RUN2", help="Show where another run parts")] = None,
    bundle: Annotated[
        Path | None, typer.Option("--bundle", metavar="FILE", help="Write the run without its texts, for a bug report")
    ] = None,
    deleted: Annotated[
        bool, typer.Option("--deleted", help="Also show deleted messages, and runs of deleted threads")
    ] = False,
    record: Annotated[
        Path | None, typer.Option(help="Write the runs to this new file, which --check reads, with secrets replaced")
    ] = None,
    without_texts: Annotated[
        bool, typer.Option("--without-texts", help="With --record: write x for each letter of a text")
    ] = False,
    data_dir: DataDirOption = None,
) -> None:
    """Print the events of a run with the prompts of its model calls, costs, and the action chosen after each append.

    With --check: run today's software over recorded history, that of the whole installation if no target is given, and
    print where it would act otherwise. Then the exit code is 1.
    """
    _refuse_conflicts(
        {
            "--check": check,
            "--record": record is not None,
            "--bundle": bundle is not None,
            "--diff": diff is not None,
            "--step": step,
            "--follow": follow,
            "--json": json,
            "--thread": thread is not None,
            "--deleted": deleted,
            "--without-texts": without_texts,
        }
    )
    if check:
        replay_check.check(targets or [], as_json=json, data_dir=data_dir)
        return
    if record is not None:
        replay_record.record(
            targets or [], record, has_texts=not without_texts, sees_deleted=deleted, data_dir=data_dir
        )
        return
    if targets is None or len(targets) != 1:
        raise CommandError("Name one run: everthread replay run_….")
    [run_id] = targets

    async def work() -> None:
        settings = Settings.load(data_dir=data_dir)
        logs.configure("warning")
        models = lookup(settings)
        async with open_run(settings, run_id, thread=thread, sees_deleted=deleted) as reader:
            if bundle is not None:
                await write_bundle(reader, models, bundle)
                return
            if diff is not None:
                left = await read_entries(reader, models)
                async with open_run(settings, diff, thread=None, sees_deleted=deleted) as other:
                    print_diff(left, await read_entries(other, models), as_json=json)
                return
            if step:
                await step_through(reader, models)
                return
            entries = reader.follow() if follow else reader.entries()
            await (_print_json(reader, entries, models) if json else _print(reader, entries, models))

    run(work())


def _refuse_conflicts(options: Mapping[str, bool]) -> None:
    """Raises CommandError if one of the given options would have no effect beside another one."""
    given = [name for name, is_given in options.items() if is_given]
    mode = next((name for name in given if name in _COMPANIONS), None)
    for name in given:
        if mode is not None and name != mode and name not in _COMPANIONS[mode]:
            raise CommandError(f"{mode} and {name} cannot be combined.")
    if mode is None and "--without-texts" in given:
        raise CommandError("--without-texts needs --record.")


@asynccontextmanager
async def open_run(
    settings: Settings, run_id: str, *, thread: str | None, sees_deleted: bool
) -> AsyncIterator[RunReader]:
    """Opens the database and yields a reader of the run. Raises CommandError, also for errors of the block."""
    from events.errors import DomainError, NotFound
    from projections.row_fold import CannotFold
    from service.cli import admin
    from service.database import open_pool
    from service.replay.run_reader import RunReader, thread_of_run

    async with admin.open_database(settings) as url:
        pool = await open_pool(url)
        reader = None
        try:
            thread_id = thread or await thread_of_run(pool, run_id)
            if sees_deleted:
                await admin.record_deleted_read(pool, thread_id, "replay")
            # Both hosted tools perform a call again if its process died.
            reader = RunReader(pool, thread_id, run_id, lambda _: "again", sees_deleted=sees_deleted)
            yield reader
        except NotFound as error:
            hint = "" if reader is None else " Its thread was deleted: --deleted shows it."
            raise CommandError(error.message + hint) from None
        except DomainError as error:
            raise CommandError(error.message) from None
        except CannotFold as error:
            raise CommandError(f"{error}. everthread verify names the faults.") from None
        finally:
            pool.terminate()


def lookup(settings: Settings) -> ModelLookup:
    """Returns the models of the settings. Raises CommandError if the models file is invalid."""
    from service.model.catalog import CatalogError
    from service.replay.model_lookup import open_lookup

    try:
        return open_lookup(settings.model_base_url, settings.models)
    except CatalogError as error:
        raise CommandError(str(error)) from None


async def _print_json(reader: RunReader, entries: AsyncIterator[TimelineEntry], models: ModelLookup) -> None:
    from service.replay.run_view import RunView

    view, is_found = RunView(models), False
    async for entry in entries:
        rendered = await asyncio.to_thread(view.to_json, entry)
        sys.stdout.write(orjson.dumps(rendered).decode() + "\n")
        sys.stdout.flush()
        is_found = True
    if not is_found:
        raise CommandError(f"The thread has no run '{reader.timeline.run_id}'.")


async def _print(reader: RunReader, entries: AsyncIterator[TimelineEntry], models: ModelLookup) -> None:
    from service.replay.run_view import RunView

    console, view, is_found = Console(), RunView(models), False
    async for entry in entries:
        prompt = await asyncio.to_thread(view.prompt, entry)
        lines = entry_lines(entry, is_first=not is_found, cost=view.add_cost(entry))
        for line in [*lines, *([] if prompt is None else prompt_lines(prompt))]:
            console.print(line, soft_wrap=True)
        is_found = True
    if not is_found:
        raise CommandError(f"The thread has no run '{reader.timeline.run_id}'.")
    if view.cost is not None:
        console.print(Text(f"The model calls cost {dollars(view.cost)}."), soft_wrap=True)
    call = reader.timeline.open_call
    if call is not None:
        prompt = await asyncio.to_thread(view.prompt_of, call, reader.timeline.hidden)
        console.print(Text(f"The open attempt at model call {call.call}:"), soft_wrap=True)
        for line in prompt_lines(prompt):
            console.print(line, soft_wrap=True)
    if not reader.timeline.has_ended:
        say("The run goes on: --follow waits for its end.")
