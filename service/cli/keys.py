"""The commands `everthread keys` and `everthread projects`."""

from __future__ import annotations

import asyncio
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

if TYPE_CHECKING:
    from projections.keys import ListedKey
    from service.writer import Writer

keys = typer.Typer(no_args_is_help=True, help="API keys: create, list, revoke.")
projects = typer.Typer(no_args_is_help=True, help="Projects: create, list.")

MAX_NAME = 256
_SCOPES = ("full", "read", "audit")
_MOST = 2**31 - 1
_WIDTH = 1000
DataDirOption = Annotated[Path | None, typer.Option("--data-dir", help="Of the server whose keys these are")]
Limit = Annotated[int | None, typer.Option(min=1, max=_MOST)]


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Option(help="What the key is for")],
    project: Annotated[str, typer.Option(help="Id or name of its project")] = "default",
    scope: Annotated[str, typer.Option(help="full, read or audit (both read only)")] = "full",
    requests_per_minute: Limit = None,
    tokens_per_minute: Limit = None,
    max_runs: Limit = None,
    data_dir: DataDirOption = None,
) -> None:
    """Make a key. It is printed once, alone on standard output; only its hash is kept."""
    if scope not in _SCOPES:
        raise CommandError(f"--scope: must be one of {', '.join(_SCOPES)}")
    _check_name(name)

    async def work() -> None:
        from service.cli import admin

        async with opened_writer(data_dir) as writer:
            key_id, key = await admin.create_key(
                writer,
                project,
                name,
                scope,  # type: ignore[arg-type]
                requests_per_minute=requests_per_minute,
                tokens_per_minute=tokens_per_minute,
                max_runs=max_runs,
            )
        say(f"Key {key_id}. Keep it now: it is not shown again.")
        typer.echo(key)

    run(work())


@keys.command("list")
def list_keys(
    project: Annotated[str | None, typer.Option(help="Id or name: only the keys of this project")] = None,
    data_dir: DataDirOption = None,
) -> None:
    """All keys, revoked ones too; never the keys themselves."""

    async def work() -> None:
        from projections import keys as view
        from service.cli import admin

        async with opened_writer(data_dir) as writer:
            project_id = None if project is None else await admin.project_id_of(writer.pool, project)
            async with writer.pool.acquire() as db:
                rows = [_row(key) async for key in view.every(db, project_id)]
        print_table(("id", "name", "project", "scope", "ends in", "limits", "created", "last used", "revoked"), rows)

    run(work())


@keys.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(help="The key's id (key_…), not the key")], data_dir: DataDirOption = None
) -> None:
    """Make a key useless, for every server, within a second."""

    async def work() -> None:
        from service.cli import admin

        async with opened_writer(data_dir) as writer:
            changed = await admin.revoke_key(writer, key_id)
        say(f"Revoked {key_id}." if changed else f"{key_id} was revoked already.")

    run(work())


@projects.command("create")
def create_project(name: Annotated[str, typer.Option(help="Its name")], data_dir: DataDirOption = None) -> None:
    """Make a project. Its id is printed on standard output."""
    _check_name(name)

    async def work() -> None:
        from service.cli import admin

        async with opened_writer(data_dir) as writer:
            typer.echo(await admin.create_project(writer, name))

    run(work())


@projects.command("list")
def list_projects(data_dir: DataDirOption = None) -> None:
    """All projects."""

    async def work() -> None:
        from events.project import DEFAULT_PROJECT
        from projections import projects as view
        from service.cli import admin

        async with opened_writer(data_dir) as writer, writer.pool.acquire() as db:
            rows = [(found.id, found.name, shown_time(found.created_at)) async for found in view.every(db)]
        print_table(("id", "name", "created"), [(DEFAULT_PROJECT, admin.DEFAULT_NAME, ""), *rows])

    run(work())


@asynccontextmanager
async def opened_writer(data_dir: Path | None) -> AsyncIterator[Writer]:
    """Raises CommandError for what the domain refuses too."""
    from events.errors import DomainError
    from service.cli import admin

    settings = Settings.load(data_dir=data_dir)
    logs.configure("warning")
    try:
        async with admin.opened(settings) as writer:
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
    told = ", ".join(f"{limit} {what}" for limit, what in limits if limit is not None)
    times = (shown_time(key.created_at), shown_time(key.last_used_at), shown_time(key.revoked_at))
    return (key.id, key.name, key.project_id, key.scope, f"…{key.ending}", told, *times)


def shown_time(at: datetime | None) -> str:
    return "" if at is None else at.strftime("%Y-%m-%d %H:%M:%S")


def print_table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Whole ids in one line, whoever reads them; a terminal breaks lines itself."""
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    Console(markup=False, emoji=False, highlight=False, width=_WIDTH).print(table)


def say(line: str) -> None:
    typer.echo(line, err=True)


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)
