"""The commands `everthread webhooks`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.keys import DataDirOption, format_time, open_writer, print_table, run, say
from service.errors import CommandError
from service.settings import Settings
from service.system import RandomIds

if TYPE_CHECKING:
    from events.envelope import Origin
    from projections.webhooks import EndpointReport
    from service.webhooks.endpoints import Endpoints

webhooks = typer.Typer(no_args_is_help=True, help="Webhook endpoints: create, list, test, enable, rotate, delete.")

MAX_URL = 2048
MAX_PREVIOUS = 7 * 24 * 3600
_Project = Annotated[str, typer.Option("--project", help="Id or name of the project")]
_Id = Annotated[str, typer.Argument(help="The endpoint's id (we_…)")]


@webhooks.command("create")
def create(
    url: Annotated[str, typer.Option(help="The address that messages are sent to: https://…")],
    event: Annotated[
        list[str] | None, typer.Option(help="thread.run.completed, …; may be repeated; default: all")
    ] = None,
    description: Annotated[str | None, typer.Option(help="A description for people")] = None,
    project: _Project = "default",
    data_dir: DataDirOption = None,
) -> None:
    """Create an endpoint and print its secret to standard output. The secret is printed once."""
    from events.webhook_endpoint import WEBHOOK_EVENTS

    wrong = [name for name in event or () if name not in WEBHOOK_EVENTS.values()]
    if wrong:
        raise CommandError(f"--event: '{wrong[0]}' is not one of {', '.join(WEBHOOK_EVENTS.values())}")
    if len(url) > MAX_URL:
        raise CommandError(f"--url: longer than {MAX_URL} characters")

    async def work() -> None:
        async with _open_endpoints(data_dir, project) as (endpoints, origin):
            made = await endpoints.create(origin, url, ids=RandomIds(), events=event or None, description=description)
            say(f"Webhook endpoint {made.report.endpoint.id}. Save its secret now: it is not shown again.")
            typer.echo(made.secret)

    run(work())


@webhooks.command("list")
def list_endpoints(project: _Project = "default", data_dir: DataDirOption = None) -> None:
    """List the project's endpoints and the state of their deliveries."""

    async def work() -> None:
        async with _open_endpoints(data_dir, project) as (endpoints, origin):
            rows = [_row(one) for one in await endpoints.list_all(origin)]
        print_table(("id", "url", "events", "status", "created", "last delivered", "failing since", "why"), rows)

    run(work())


@webhooks.command("test")
def send_test(endpoint_id: _Id, project: _Project = "default", data_dir: DataDirOption = None) -> None:
    """Send a webhook.test message from this machine, and print the result."""

    async def work() -> None:
        async with _open_endpoints(data_dir, project) as (endpoints, origin):
            outcome = await endpoints.test(origin, endpoint_id, ids=RandomIds())
        if not outcome.is_accepted:
            raise CommandError(f"{endpoint_id} {outcome.error}.")
        say(f"{endpoint_id} accepted it with status {outcome.status} after {outcome.seconds * 1000:.0f} ms.")

    run(work())


@webhooks.command("enable")
def enable(endpoint_id: _Id, project: _Project = "default", data_dir: DataDirOption = None) -> None:
    """Enable an endpoint. It receives the events that happen from now on."""

    async def work() -> None:
        async with _open_endpoints(data_dir, project) as (endpoints, origin):
            await endpoints.modify(origin, endpoint_id, {"status": "enabled"})
        say(f"Enabled {endpoint_id}.")

    run(work())


@webhooks.command("rotate")
def rotate(
    endpoint_id: _Id,
    keep: Annotated[int, typer.Option(min=0, max=MAX_PREVIOUS, help="Seconds for which the old secret stays valid")] = (
        24 * 3600
    ),
    project: _Project = "default",
    data_dir: DataDirOption = None,
) -> None:
    """Give an endpoint a new secret and print it to standard output. The secret is printed once."""

    async def work() -> None:
        async with _open_endpoints(data_dir, project) as (endpoints, origin):
            found = await endpoints.rotate(origin, endpoint_id, keep)
            say(f"Webhook endpoint {endpoint_id}: the old secret stays valid for {keep} s.")
            typer.echo(found.secret)

    run(work())


@webhooks.command("delete")
def delete(endpoint_id: _Id, project: _Project = "default", data_dir: DataDirOption = None) -> None:
    """Delete an endpoint and the messages that wait for it."""

    async def work() -> None:
        async with _open_endpoints(data_dir, project) as (endpoints, origin):
            await endpoints.delete(origin, endpoint_id)
        say(f"Deleted {endpoint_id}.")

    run(work())


@asynccontextmanager
async def _open_endpoints(data_dir: Path | None, project: str) -> AsyncIterator[tuple[Endpoints, Origin]]:
    """Yields the endpoints and the origin of the project. Raises CommandError if the domain refuses the command."""
    from events.envelope import Origin
    from service.cli import admin
    from service.webhooks.endpoints import Endpoints
    from service.webhooks.sender import Sender

    settings = Settings.load(data_dir=data_dir)
    async with (
        open_writer(data_dir) as writer,
        Sender(clock=writer.clock, allow_private=settings.webhooks_allow_private) as sender,
    ):
        project_id = await admin.project_id_of(writer.pool, project)
        yield Endpoints(writer, sender), Origin(project_id, admin.actor())


def _row(one: EndpointReport) -> tuple[str, ...]:
    endpoint = one.endpoint
    created = format_time(datetime.fromtimestamp(endpoint.created_at, UTC))
    times = (created, format_time(one.delivered_at), format_time(one.failing_since))
    why = endpoint.disabled_reason or one.last_error or ""
    return (endpoint.id, endpoint.url, " ".join(endpoint.events), endpoint.status, *times, why)
