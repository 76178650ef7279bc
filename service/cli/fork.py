"""The command `everthread fork`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from service.cli.keys import DataDirOption, open_writer, run, say
from service.errors import CommandError
from service.system import RandomIds

if TYPE_CHECKING:
    from events.envelope import Origin
    from service.writer import Writer


def fork(
    thread: Annotated[str, typer.Argument(help="The thread, such as thread_…")],
    at: Annotated[
        str | None,
        typer.Option(help="A version, a message, a run, Unix seconds, or a time as in RFC 3339; default: now"),
    ] = None,
    metadata: Annotated[
        list[str] | None, typer.Option("--metadata", help="key=value, instead of those of the thread; can be repeated")
    ] = None,
    deleted: Annotated[bool, typer.Option("--deleted", help="Also copy messages that were deleted since then")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the API's object instead of the id")] = False,
    data_dir: DataDirOption = None,
) -> None:
    """Create a thread with the history of another one up to a point, and print its id."""

    async def work() -> None:
        from projections.row_fold import CannotFold
        from service.cli import admin
        from service.cli.thread_deletion import pairs_of
        from service.forks.forks import Forks
        from service.replay.time_travel import TimeTravel, Viewer
        from service.wire import v2
        from service.wire.forks import parse_fork

        body = {"at": at, "metadata": None if metadata is None else pairs_of(metadata)}
        async with open_writer(data_dir) as writer:
            asked = parse_fork(body)
            origin = await origin_of(writer, thread)
            if deleted:
                await admin.record_deleted_read(writer.pool, thread, "fork")
            forks = Forks(writer, TimeTravel(writer.pool, writer.clock))
            ids = RandomIds()
            try:
                created = await forks.create(
                    origin,
                    Viewer(origin.project_id, sees_deleted=deleted),
                    thread,
                    asked.at,
                    fork_id=ids.new("thread"),
                    ids=ids,
                    metadata=asked.metadata,
                )
            except CannotFold as error:
                raise CommandError(f"{error}. everthread verify names the faults.") from None
        shown = created.thread
        typer.echo(orjson.dumps(v2.WIRE.render_thread(shown, resources=True)).decode() if json else shown.id)
        say(f"Forked from {thread} at version {created.version}, with {created.count} messages, runs and steps.")

    run(work())


async def origin_of(writer: Writer, thread_id: str) -> Origin:
    """Returns the origin of acts of the command line on a thread. Raises NotFound."""
    from events import event_log
    from events.envelope import Origin
    from events.errors import NotFound
    from events.streams import THREAD
    from service.cli import admin

    async with writer.pool.acquire() as db:
        head = await event_log.head(db, thread_id, THREAD)
    if head.project_id is None:
        raise NotFound("thread", thread_id)
    return Origin(project_id=head.project_id, actor=admin.actor())
