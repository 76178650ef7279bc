"""The command `everthread show`: a thread as it was, with its messages, runs and steps."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from service.cli import logs
from service.cli.keys import DataDirOption, run
from service.errors import CommandError
from service.settings import Settings
from service.system import SystemClock

if TYPE_CHECKING:
    from service.replay.past_thread import ThreadContents
    from service.wire.as_of import AsOf

# Characters of a text, and of a tool's arguments or output, that are printed for people.
MAX_TEXT = 4_000
MAX_DETAIL = 400
_INDENT = 4
_RUN_TIMES = ("started_at", "completed_at", "cancelled_at", "failed_at", "expires_at")


def show(
    thread: Annotated[str, typer.Argument(help="The thread, such as thread_…")],
    at: Annotated[
        str | None, typer.Option(help="A version of the thread, Unix seconds, or a time as in RFC 3339; default: now")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the API's objects, one a line")] = False,
    deleted: Annotated[bool, typer.Option("--deleted", help="Also show what was deleted since then")] = False,
    data_dir: DataDirOption = None,
) -> None:
    """Print a thread with its messages, runs and steps as they were, from its events alone."""

    async def work() -> None:
        from events.errors import DomainError
        from projections.row_fold import CannotFold
        from service.cli import admin
        from service.database import open_pool
        from service.wire.as_of import Moment, parse_as_of

        settings = Settings.load(data_dir=data_dir)
        logs.configure("warning")
        async with admin.open_database(settings) as url:
            pool = await open_pool(url)
            try:
                point = Moment(SystemClock().now()) if at is None else parse_as_of(at)
                if deleted:
                    await admin.record_deleted_read(pool, thread, "show")
                contents = await _read(pool, thread, point, sees_deleted=deleted)
            except DomainError as error:
                raise CommandError(error.message) from None
            except CannotFold as error:
                raise CommandError(f"{error}. everthread verify names the faults.") from None
            finally:
                pool.terminate()
        if json:
            for rendered in render(contents):
                sys.stdout.write(orjson.dumps(rendered).decode() + "\n")
        else:
            print_thread(contents, Console())

    run(work())


async def _read(pool: Any, thread_id: str, at: AsOf, *, sees_deleted: bool) -> ThreadContents:
    """Returns the contents of a thread of any project. Raises NotFound and Rejection."""
    from events import event_log
    from events.streams import THREAD
    from service.replay.past_thread import PastThread
    from service.replay.time_travel import TimeTravel, Viewer

    async with pool.acquire() as db:
        head = await event_log.head(db, thread_id, THREAD)
    viewer = Viewer(head.project_id or "", sees_deleted=sees_deleted)
    return await PastThread(TimeTravel(pool, SystemClock()), viewer, thread_id, at).contents()


def render(contents: ThreadContents) -> list[dict[str, Any]]:
    """Returns the API's objects in v2: the thread, then its messages, its runs and its steps, the oldest first."""
    from service.wire import v2

    return [
        v2.WIRE.render_thread(contents.thread, resources=True),
        *map(v2.WIRE.render_message, contents.messages),
        *map(v2.WIRE.render_run, contents.runs),
        *(v2.WIRE.render_step(step, include=frozenset()) for step in contents.steps),
    ]


def print_thread(contents: ThreadContents, console: Console) -> None:
    """Prints the thread for people. Control characters of texts are printed as escapes."""
    from service.wire.as_of import format_time

    [thread, *objects] = render(contents)
    point = f"as of version {contents.version}, {format_time(contents.moment)}"
    console.print(Text.assemble((thread["id"], "bold"), f"  created {_time(thread['created_at'])}, {point}"))
    if contents.origin is not None:
        console.print(Text(f"forked from {contents.origin.thread_id} at version {contents.origin.version}", "dim"))
    _print_details(console, thread, ("metadata", "tool_resources"))
    steps = [one for one in objects if one["object"] == "thread.run.step"]
    others = [one for one in objects if one["object"] != "thread.run.step"]
    for one in sorted(others, key=_place):
        console.print()
        if one["object"] == "thread.message":
            _print_message(console, one)
        else:
            _print_run(console, one, [step for step in steps if step["run_id"] == one["id"]])


def _place(rendered: dict[str, Any]) -> tuple[int, int]:
    """Returns the place of a message or a run in the order of time. A message of a run comes after the run."""
    rank = 1 if rendered["object"] == "thread.run" else 2 if rendered.get("run_id") else 0
    return rendered["created_at"], rank


def _print_message(console: Console, message: dict[str, Any]) -> None:
    head = Text.assemble((message["role"], "bold cyan"), f"  {message['id']}  {_time(message['created_at'])}")
    if message.get("status", "completed") != "completed":
        head.append(f"  {message['status']}", "yellow")
    console.print(head)
    for part in message["content"]:
        text = part["text"]["value"] if part["type"] == "text" else orjson.dumps(part[part["type"]]).decode()
        console.print(Padding(Text(printable(text, MAX_TEXT)), (0, 0, 0, _INDENT)))
    _print_details(console, message, ("attachments", "metadata"))


def _print_run(console: Console, run: dict[str, Any], steps: list[dict[str, Any]]) -> None:
    style = {"completed": "green", "failed": "red", "expired": "red", "cancelled": "yellow"}.get(run["status"], "blue")
    model = printable(run["model"], MAX_DETAIL)
    head = Text.assemble(
        ("run", "bold magenta"), f"  {run['id']}  {_time(run['created_at'])}  {model}  ", (run["status"], style)
    )
    console.print(head)
    times = "  ".join(f"{name} {_time(run[name])}" for name in _RUN_TIMES if run.get(name) is not None)
    if times:
        console.print(Padding(Text(times, "dim"), (0, 0, 0, _INDENT)))
    _print_details(console, run, ("last_error", "required_action", "usage", "metadata"))
    for step in steps:
        line = Text.assemble((step["type"], "bold"), f"  {step['id']}  {step['status']}")
        console.print(Padding(line, (0, 0, 0, _INDENT)))
        for call in step["step_details"].get("tool_calls", ()):
            text = printable(orjson.dumps(call).decode(), MAX_DETAIL)
            console.print(Padding(Text(text, "dim"), (0, 0, 0, 2 * _INDENT)))


def _print_details(console: Console, rendered: dict[str, Any], names: tuple[str, ...]) -> None:
    for name in names:
        if rendered.get(name):
            text = f"{name}: {printable(orjson.dumps(rendered[name]).decode(), MAX_DETAIL)}"
            console.print(Padding(Text(text, "dim"), (0, 0, 0, _INDENT)))


def printable(text: str, most: int) -> str:
    """Returns the text, cut after `most` characters, with escapes for characters that could control a terminal."""
    shown = text[:most]
    safe = "".join(each if each.isprintable() or each == "\n" else repr(each)[1:-1] for each in shown)
    return safe if len(text) <= most else f"{safe}… ({len(text):,} characters)"


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
