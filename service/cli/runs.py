"""The command `everthread runs list`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, get_args

import orjson
import typer
from rich.cells import cell_len
from rich.console import Console

from service.cli import logs
from service.cli.keys import DataDirOption, print_table, run, say
from service.cli.show import printable
from service.errors import CommandError
from service.settings import Settings

if TYPE_CHECKING:
    from events.objects import Run
    from projections.run_listing import ListedRun, ListingFilter
    from sql.connection import Connection

runs = typer.Typer(no_args_is_help=True, help="Runs of all projects: list.")

# Runs that are read at once, and the most that are printed.
PAGE = 200
MAX_LIMIT = 10_000
# Bounds of the times of runs, and the position before all runs.
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = (datetime(9999, 1, 1, tzinfo=UTC), "")
# Characters of a cell.
MAX_CELL = 80
# The columns, those first that are kept in a narrow terminal, and the characters between two of them.
_TITLES = ("run", "status", "assistant", "created", "error", "model")
GAP = 2


@runs.command("list")
def list_runs(
    status: Annotated[list[str] | None, typer.Option(help="Only runs of this status; may be repeated")] = None,
    since: Annotated[str | None, typer.Option(help="Created since a date, or a time with zone")] = None,
    assistant: Annotated[str | None, typer.Option(help="Only runs of this assistant, by its id")] = None,
    project: Annotated[str | None, typer.Option(help="Only this project, by its id or name")] = None,
    after: Annotated[str | None, typer.Option(help="Go on behind this run, the last one of a list")] = None,
    limit: Annotated[int, typer.Option(help="The number of runs, the newest ones", min=1, max=MAX_LIMIT)] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print an object for each run, one a line")] = False,
    data_dir: DataDirOption = None,
) -> None:
    """Print the newest runs that match, newest first."""

    async def work() -> None:
        from events.objects import RunStatus
        from projections.run_listing import ListingFilter
        from service.cli import admin
        from service.cli.thread_deletion import parse_time
        from service.database import open_pool
        from service.usage.follower import catch_up_runs

        known = get_args(RunStatus)
        for asked in status or ():
            if asked not in known:
                raise CommandError(f"--status: must be one of {', '.join(known)}")
        start = None if since is None else parse_time(since, "--since")
        settings = Settings.load(data_dir=data_dir)
        logs.configure("warning")
        async with admin.open_database(settings) as url:
            pool = await open_pool(url)
            try:
                only = ListingFilter(
                    since=EARLIEST if start is None else start,
                    status=sorted(set(status or known)),
                    project_id=None if project is None else await admin.project_id_of(pool, project),
                    assistant_id=assistant,
                )
                async with pool.acquire() as db:
                    await catch_up_runs(db)
                    found = await newest_runs(db, only, after=after, limit=limit)
            finally:
                pool.terminate()
        _print_json(found) if as_json else _print_table(found, limit)

    run(work())


async def newest_runs(
    db: Connection, only: ListingFilter, *, after: str | None = None, limit: int
) -> list[tuple[str, Run]]:
    """Returns the newest runs that match with the ids of their projects, newest first, behind the run `after`.

    Raises CommandError if there is no such run.
    """
    from projections import run_listing
    from projections import runs as view

    pending = await run_listing.unindexed_runs(db, only)
    before = LATEST if after is None else await _position(db, after, pending)
    pending = [listed for listed in pending if (listed.created_at, listed.run_id) < before]
    found: list[tuple[str, Run]] = []
    size = min(PAGE, limit)
    while len(found) < limit:
        page = await run_listing.page(db, only, before, size)
        is_last = len(page) < size
        newer = pending if is_last else [listed for listed in pending if listed >= page[-1]]
        pending = pending[len(newer) :]
        merged = sorted({*page, *newer}, reverse=True)
        loaded = await view.find(db, [(listed.thread_id, listed.run_id) for listed in merged])
        for listed in merged:
            one = loaded.get((listed.thread_id, listed.run_id))  # none if the thread was deleted
            if one is not None and one.status in only.status:
                found.append((listed.project_id, one))
        if is_last:
            break
        before = (page[-1].created_at, page[-1].run_id)
    return found[:limit]


async def _position(db: Connection, run_id: str, pending: Sequence[ListedRun]) -> tuple[datetime, str]:
    from projections import run_listing

    listed = next((one for one in pending if one.run_id == run_id), None) or await run_listing.find(db, run_id)
    if listed is None:
        raise CommandError(f"--after: there is no run '{run_id}'.")
    return (listed.created_at, listed.run_id)


def _print_json(found: list[tuple[str, Run]]) -> None:
    for project_id, each in found:
        typer.echo(orjson.dumps(_facts(project_id, each)).decode())


def _facts(project_id: str, found: Run) -> dict[str, Any]:
    return {
        "id": found.id,
        "thread_id": found.thread_id,
        "project_id": project_id,
        "assistant_id": found.assistant_id,
        "created_at": found.created_at,
        "status": found.status,
        "model": found.model,
        "usage": found.usage,
        "last_error": found.last_error,
    }


def _print_table(found: list[tuple[str, Run]], limit: int) -> None:
    if not found:
        say("No run matches.")
        return
    console = Console()
    rows = [_cells(each) for _, each in found]
    places = fitting_columns(rows, console.width if console.is_terminal else None)
    print_table(tuple(_TITLES[place] for place in places), [tuple(row[place] for place in places) for row in rows])
    more = f" --after {rows[-1][0]} goes on." if len(rows) == limit else ""
    say(f"{len(rows)} run{'' if len(rows) == 1 else 's'}. everthread replay RUN shows one.{more}")


def _cells(found: Run) -> tuple[str, ...]:
    created = datetime.fromtimestamp(found.created_at, UTC).strftime("%Y-%m-%d %H:%M:%S")
    error = str((found.last_error or {}).get("code", ""))
    cells = (found.id, found.status, found.assistant_id, created, error, found.model)
    return tuple(printable(cell, MAX_CELL).replace("\n", " ") for cell in cells)


def fitting_columns(rows: Sequence[Sequence[str]], width: int | None) -> list[int]:
    """Returns the numbers of the columns that fit into `width` characters, the first one in any case.

    None has room for all of them. No cell is wrapped or cut.
    """
    places: list[int] = []
    left = width
    for place, title in enumerate(_TITLES):
        cells = max(cell_len(cell) for cell in (title, *(row[place] for row in rows))) + GAP
        if left is None or not places or cells <= left + GAP:
            places.append(place)
            left = None if left is None else left - cells
    return places
