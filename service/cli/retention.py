"""The commands `everthread retention`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from service.cli.keys import DataDirOption, open_writer, run, say
from service.errors import CommandError
from service.system import RandomIds

if TYPE_CHECKING:
    from projections.retention import Hold, Policy

retention = typer.Typer(no_args_is_help=True, help="How long threads are kept: list, set, hold, release.")

_MAX_DAYS = 36_525
_PAGE = 100
ProjectOption = Annotated[str, typer.Option(help="Id or name of the project")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one object of JSON")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only count what would be deleted")]


@retention.command("list")
def show(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count the threads that are due to be deleted")] = False,
    ended: Annotated[bool, typer.Option("--ended", help="Show holds that have ended too")] = False,
    json: JsonOption = False,
    data_dir: DataDirOption = None,
) -> None:
    """List the policies of projects, the legal holds, and how many deleted objects are kept by them."""

    async def work() -> None:
        from projections import retention as stored
        from service.retention.operations import Retention

        async with open_writer(data_dir) as writer:
            operations = Retention(writer)
            async with writer.pool.acquire() as db:
                policies, waiting = await stored.list_policies(db), await stored.count_waiting(db)
            holds = [hold async for hold in _all_holds(operations, has_ended=ended)]
            idle = {each.project_id: await operations.count_idle(each) for each in policies} if dry_run else {}
        if json:
            typer.echo(orjson.dumps(_to_json(policies, holds, waiting, idle)).decode())
            return
        for policy in policies:
            typer.echo(_describe(policy))
            if dry_run:
                typer.echo(f"  {idle[policy.project_id]} threads would be deleted now")
        for hold in holds:
            typer.echo(_describe_hold(hold))
        for project_id, count in waiting.items():
            typer.echo(f"{project_id}: {count} deleted objects are kept by a hold or a policy")
        if not (policies or holds or waiting):
            say("No policy and no hold: threads stay until they are deleted, and are erased then.")

    run(work())


@retention.command("set")
def set_policy(
    project: ProjectOption,
    delete_idle: Annotated[
        int | None,
        typer.Option(min=0, max=_MAX_DAYS, help="Delete threads without an event for so many days; 0: never"),
    ] = None,
    keep: Annotated[
        int | None,
        typer.Option(
            min=0, max=_MAX_DAYS, help="Keep deleted threads until so many days after their last event; 0: do not"
        ),
    ] = None,
    dry_run: DryRunOption = False,
    data_dir: DataDirOption = None,
) -> None:
    """Set how long the threads of a project are kept. A rule that is not given stays as it is."""
    if delete_idle is None and keep is None:
        raise CommandError("Give --delete-idle, --keep, or both.")

    async def work() -> None:
        from events.envelope import Origin
        from projections.retention import Policy
        from service.cli import admin
        from service.retention.operations import Retention

        async with open_writer(data_dir) as writer:
            operations = Retention(writer)
            project_id = await admin.project_id_of(writer.pool, project)
            before = await operations.get_policy(project_id)
            policy = Policy(
                project_id,
                before.idle_days if delete_idle is None else delete_idle or None,
                before.keep_days if keep is None else keep or None,
            )
            count = await operations.count_idle(policy)
            if not dry_run:
                await operations.set_policy(Origin(project_id, admin.actor()), policy)
        typer.echo(_describe(policy))
        verb = "would be deleted" if dry_run else "are deleted within an hour, while a server runs"
        typer.echo(f"  {count} threads {verb}")

    run(work())


@retention.command("hold")
def place_hold(
    reason: Annotated[str, typer.Option(help="Why, such as the number of a case: it stands in the log, not encrypted")],
    project: ProjectOption = "default",
    thread: Annotated[str | None, typer.Option(help="The thread that the hold covers")] = None,
    metadata: Annotated[
        list[str] | None, typer.Option(help="key=value: the hold covers threads with all these pairs")
    ] = None,
    dry_run: DryRunOption = False,
    data_dir: DataDirOption = None,
) -> None:
    """Place a legal hold on a thread, on threads by metadata, or on all threads of a project. Prints its id."""
    if thread is not None and metadata:
        raise CommandError("Give --thread or --metadata, not both.")

    async def work() -> None:
        from events.envelope import Origin
        from service.cli import admin
        from service.cli.thread_deletion import pairs_of
        from service.retention.operations import HoldRequest, Retention

        pairs = pairs_of(metadata) if metadata else None
        async with open_writer(data_dir) as writer:
            project_id = await admin.project_id_of(writer.pool, project)
            asked = HoldRequest(project_id=project_id, reason=reason, thread_id=thread, metadata=pairs)
            if dry_run:
                say("Nothing was changed.")
                return
            hold = await Retention(writer).place_hold(Origin(project_id, admin.actor()), asked, ids=RandomIds())
        say(_describe_hold(hold))
        typer.echo(hold.id)

    run(work())


@retention.command("release")
def release(
    hold: Annotated[str, typer.Argument(help="The id of the hold")],
    dry_run: DryRunOption = False,
    data_dir: DataDirOption = None,
) -> None:
    """End a legal hold. Deleted threads that it alone has kept are erased within an hour, while a server runs."""

    async def work() -> None:
        from events.envelope import Origin
        from service.cli import admin
        from service.retention.operations import Retention

        async with open_writer(data_dir) as writer:
            operations = Retention(writer)
            found = await operations.get_hold(hold)
            if not dry_run:
                found = await operations.end_hold(Origin(found.project_id, admin.actor()), hold)
        typer.echo(_describe_hold(found))

    run(work())


async def _all_holds(operations: Any, *, has_ended: bool) -> Any:
    after, more = None, True
    while more:
        page = await operations.list_holds(after=after, limit=_PAGE, project_id=None, has_ended=has_ended)
        for hold in page.items:
            yield hold
            after = hold.id
        more = page.more


def _describe(policy: Policy) -> str:
    idle = "idle threads stay" if policy.idle_days is None else f"threads idle for {policy.idle_days} days are deleted"
    kept = (
        "deleted threads are erased at once"
        if policy.keep_days is None
        else f"deleted threads are kept until {policy.keep_days} days after their last event"
    )
    return f"{policy.project_id}: {idle}; {kept}"


def _describe_hold(hold: Hold) -> str:
    if hold.thread_id is not None:
        covered = hold.thread_id
    elif hold.metadata is not None:
        covered = "threads with " + ", ".join(f"{key}={value}" for key, value in hold.metadata.items())
    else:
        covered = "all threads"
    end = "" if hold.ended_at is None else f", ended {hold.ended_at:%Y-%m-%d %H:%M}"
    return f"{hold.id} on {covered} of {hold.project_id} since {hold.placed_at:%Y-%m-%d %H:%M}{end}: {hold.reason}"


def _to_json(policies: list[Policy], holds: list[Hold], waiting: dict[str, int], idle: dict[str, int]) -> Any:
    return {
        "policies": [
            {
                "project_id": policy.project_id,
                "delete_idle_threads_after_days": policy.idle_days,
                "keep_threads_for_days": policy.keep_days,
                **({"idle_threads": idle[policy.project_id]} if idle else {}),
            }
            for policy in policies
        ],
        "holds": [
            {
                "id": hold.id,
                "project_id": hold.project_id,
                "thread_id": hold.thread_id,
                "metadata": None if hold.metadata is None else dict(hold.metadata),
                "reason": hold.reason,
                "placed_at": hold.placed_at.isoformat(),
                "ended_at": None if hold.ended_at is None else hold.ended_at.isoformat(),
            }
            for hold in holds
        ],
        "kept_deletions": waiting,
    }
