"""The commands `everthread keys` and `everthread projects`."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from service.cli import logs
from service.errors import CommandError
from service.settings import Settings
from service.system import RandomIds

if TYPE_CHECKING:
    from projections.keys import ListedKey
    from service.writer import Writer

keys = typer.Typer(no_args_is_help=True, help="API keys: create, list, revoke.")
projects = typer.Typer(no_args_is_help=True, help="Projects: create, list.")

MAX_NAME = 256
_SCOPES = ("full", "read", "audit", "audit:content", "admin")
_MAX_LIMIT = 2**31 - 1
_WIDTH = 1000
DataDirOption = Annotated[Path | None, typer.Option("--data-dir", help="The server's data directory")]
LimitOption = Annotated[int | None, typer.Option(min=1, max=_MAX_LIMIT)]


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Option(help="A name that says who uses the key")],
    project: Annotated[str, typer.Option(help="Id or name of its project; all for audits of all projects")] = "default",
    scope: Annotated[
        str, typer.Option(help="full, read, audit (events without contents), audit:content or admin")
    ] = "full",
    requests_per_minute: LimitOption = None,
    tokens_per_minute: LimitOption = None,
    max_runs: LimitOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Create a key and print it to standard output. It is printed once: only its hash is stored."""
    if scope not in _SCOPES:
        raise CommandError(f"--scope: must be one of {', '.join(_SCOPES)}")
    _check_name(name)

    async def work() -> None:
        from service.cli import admin

        async with open_writer(data_dir) as writer:
            key_id, key = await admin.create_key(
                writer,
                project,
                name,
                scope,  # type: ignore[arg-type]
                ids=RandomIds(),
                requests_per_minute=requests_per_minute,
                tokens_per_minute=tokens_per_minute,
                max_runs=max_runs,
            )
        say(f"Key {key_id}. Save it now: it is not shown again.")
        typer.echo(key)

    run(work())


@keys.command("list")
def list_keys(
    project: Annotated[str | None, typer.Option(help="Id or name: only the keys of this project")] = None,
    data_dir: DataDirOption = None,
) -> None:
    """List all keys, revoked ones included, without their secrets."""

    async def work() -> None:
        from projections import keys as view
        from service.cli import admin

        async with open_writer(data_dir) as writer:
            project_id = None if project is None else await admin.project_id_of(writer.pool, project)
            async with writer.pool.acquire() as db:
                rows = [_row(key) async for key in view.list_keys(db, project_id)]
        print_table(("id", "name", "project", "scope", "ends in", "limits", "created", "last used", "revoked"), rows)

    run(work())


@keys.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(help="The id of the key (key_…)")], data_dir: DataDirOption = None
) -> None:
    """Revoke a key. Every server refuses it within a second."""

    async def work() -> None:
        from service.cli import admin

        async with open_writer(data_dir) as writer:
            changed = await admin.revoke_key(writer, key_id)
        say(f"Revoked {key_id}." if changed else f"{key_id} was already revoked.")

    run(work())


@projects.command("create")
def create_project(
    name: Annotated[str, typer.Option(help="The project's name")], data_dir: DataDirOption = None
) -> None:
    """Create a project and print its id to standard output."""
    _check_name(name)

    async def work() -> None:
        from service.cli import admin

        async with open_writer(data_dir) as writer:
            typer.echo(await admin.create_project(writer, name, ids=RandomIds()))

    run(work())


@projects.command("list")
def list_projects(data_dir: DataDirOption = None) -> None:
    """List all projects."""

    async def work() -> None:
        from events.project import DEFAULT_PROJECT
        from projections import projects as view
        from service.organization.organization import DEFAULT_NAME

        async with open_writer(data_dir) as writer, writer.pool.acquire() as db:
            rows = [
                (project.id, project.name, format_time(project.created_at)) async for project in view.list_projects(db)
            ]
        print_table(("id", "name", "created"), [(DEFAULT_PROJECT, DEFAULT_NAME, ""), *rows])

    run(work())


@asynccontextmanager
async def open_writer(data_dir: Path | None) -> AsyncIterator[Writer]:
    """Yields a writer for a command. Raises CommandError if the command cannot run or the domain refuses it."""
    from events.errors import DomainError
    from service.cli import admin

    settings = Settings.load(data_dir=data_dir)
    logs.configure("warning")
    try:
        async with admin.open_writer(settings) as writer:
            yield writer
    except DomainError as error:
        raise CommandError(error.message) from None


def _check_name(name: str) -> None:
    if not 0 < len(name) <= MAX_NAME or not name.isprintable():
        raise CommandError(f"--name: must be 1 to {MAX_NAME} printable characters")


def _row(key: ListedKey) -> tuple[str, ...]:
    limits = (
        (key.requests_per_minute, "requests/min"),
        (key.tokens_per_minute, "tokens/min"),
        (key.max_runs, "runs at once"),
    )
    limit_texts = ", ".join(f"{limit} {unit}" for limit, unit in limits if limit is not None)
    times = (format_time(key.created_at), format_time(key.last_used_at), format_time(key.revoked_at))
    return (key.id, key.name, key.project_id, key.scope, f"…{key.ending}", limit_texts, *times)


def format_time(at: datetime | None) -> str:
    """Returns the time to the second, or an empty text for None."""
    return "" if at is None else at.strftime("%Y-%m-%d %H:%M:%S")


def print_table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Prints a table whose rows are never wrapped, so that ids stay whole when they are copied or piped."""
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    Console(markup=False, emoji=False, highlight=False, width=_WIDTH).print(table)


def say(line: str) -> None:
    """Prints a line to standard error, apart from the command's output."""
    typer.echo(line, err=True)


def run(work: Coroutine[Any, Any, None]) -> None:
    """Runs the work of a command in an event loop of its own.

    SIGTERM, and SIGHUP unless it is ignored, cancel the work as Ctrl-C does, so that it leaves nothing half-done. Only
    the main thread of a program can have that.
    """
    asyncio.run(_cancel_on_signals(work))


async def _cancel_on_signals(work: Coroutine[Any, Any, None]) -> None:
    loop, task, received = asyncio.get_running_loop(), asyncio.ensure_future(work), list[int]()

    def cancel(number: int) -> None:
        received.append(number)
        loop.remove_signal_handler(number)  # a second one ends the process at once
        task.cancel()

    is_main = threading.current_thread() is threading.main_thread()
    for number in (signal.SIGTERM, signal.SIGHUP) if is_main else ():
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, cancel, number)
    try:
        await task
    except asyncio.CancelledError:
        if not received:
            raise
        raise typer.Exit(128 + received[0]) from None
