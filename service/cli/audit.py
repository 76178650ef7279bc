"""The command `everthread audit export`."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import sys
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from service.cli.keys import DataDirOption, open_writer, run, say
from service.errors import CommandError
from service.system import RandomIds

if TYPE_CHECKING:
    from events.installation import ExportFormat
    from service.audit.audit_export import AuditExport, ExportOrder, ExportPage
    from service.writer import Writer

audit = typer.Typer(no_args_is_help=True, help="The audit log: export.")

# Seconds between two lines that report the progress.
REPORT_EVERY_S = 2.0
# Bytes of a file that are searched for the end of a line at once.
BLOCK_BYTES = 64 * 1024
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_FORMATS: tuple[ExportFormat, ...] = ("jsonl", "ocsf")


@audit.command("export")
def export(
    format: Annotated[str, typer.Option(help="jsonl (as the audit feed) or ocsf (API Activity)")] = "jsonl",
    project: Annotated[str | None, typer.Option(help="Id or name of a project; installation for its own acts")] = None,
    actor: Annotated[str | None, typer.Option(help="Such as key:key_… or cli:user@host")] = None,
    stream: Annotated[str | None, typer.Option(help="A stream, such as thread_…")] = None,
    type: Annotated[list[str] | None, typer.Option(help="A type of events; may be repeated")] = None,
    request_id: Annotated[str | None, typer.Option(help="The request that led to the events")] = None,
    since: Annotated[str | None, typer.Option(help="A date, a date with a time, or Unix seconds")] = None,
    until: Annotated[str | None, typer.Option(help="The end, not included, in the same forms")] = None,
    first: Annotated[int, typer.Option("--from", min=0, help="The index of the log to begin with")] = 0,
    content: Annotated[bool, typer.Option("--content", help="Also export the contents of events")] = False,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with new events until Ctrl-C")] = False,
    output: Annotated[Path | None, typer.Option(help="The file to write (default: standard output)")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on behind the last event of the file")] = False,
    data_dir: DataDirOption = None,
) -> None:
    """Export the events of the log, one JSON object a line. The export is itself an event of the log."""
    if format not in _FORMATS:
        raise CommandError(f"--format: must be one of {', '.join(_FORMATS)}")
    if resume and (output is None or first):
        raise CommandError("--resume needs --output, and no --from")
    options = {
        "project": project,
        "actor": actor,
        "stream": stream,
        "type": ",".join(type or []) or None,
        "request_id": request_id,
        "since": since,
        "until": until,
    }

    async def work() -> None:
        from service.audit.audit_export import ExportOrder
        from service.audit.audit_feed import AuditFilter
        from service.cli.thread_deletion import parse_time

        async with open_writer(data_dir) as writer:
            order = ExportOrder(
                format="ocsf" if format == "ocsf" else "jsonl",
                wanted=AuditFilter(
                    project_id=None if project is None else await _project_id(writer, project),
                    actor=actor,
                    stream_id=stream,
                    request_id=request_id,
                    types=tuple(type or ()),
                    since=None if since is None else parse_time(since, "--since"),
                    until=None if until is None else parse_time(until, "--until"),
                ),
                filters={name: value for name, value in options.items() if value is not None},
                first_index=_next_index(output) if resume and output is not None else first,
                has_contents=content,
                is_following=follow,
            )
            await _export(writer, order, output, is_resumed=resume)

    run(work())


async def _export(writer: Writer, order: ExportOrder, output: Path | None, *, is_resumed: bool) -> None:
    from events.envelope import Origin
    from events.installation import INSTALLATION_PROJECT
    from service.audit.audit_export import open_export
    from service.audit.audit_feed import find_lost
    from service.audit.log_tree import load_sizes
    from service.cli.admin import actor
    from service.database import DATABASE_ERRORS

    async with writer.pool.acquire() as db:
        epochs = await load_sizes(db)
    end, lost = epochs[-1].end, find_lost(epochs, order.first_index - 1)
    if order.first_index > end:
        raise CommandError(f"The log ends at the index {end}: there is no index {order.first_index} to begin with.")
    if lost is not None:
        say(f"A restore removed the events from the index {lost} on. The export goes on with the log's new epoch.")
    origin, next_index = Origin(INSTALLATION_PROJECT, actor()), order.first_index
    try:
        with _OutputFile(output, is_resumed=is_resumed) as file:
            async with open_export(writer, origin, order, ids=RandomIds()) as export:
                try:
                    await _write_pages(export, order, file)
                finally:
                    next_index = export.next_index
    except _OutputError as error:
        say(f"Go on with --from {next_index}.")
        raise CommandError(f"Cannot write {output or 'to standard output'}: {error}") from None
    except DATABASE_ERRORS as error:
        raise CommandError(
            f"The database failed: {str(error) or 'no answer'}. Go on with --from {next_index}."
        ) from None
    say(f"Exported {export.count:,} events. Go on with --from {next_index}.")
    if export.is_stopped and not order.is_following:
        raise typer.Exit(1)


async def _write_pages(export: AuditExport, order: ExportOrder, file: _OutputFile) -> None:
    """Writes the events up to the end, or up to a signal. A second signal ends the process at once."""
    began = last = monotonic()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        export.stop()
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    for number in _SIGNALS:
        loop.add_signal_handler(number, stop)
    async for page in export.pages():
        file.write(_render(page, order.format))
        export.add(page)
        now = monotonic()
        if file.path is not None and now - last >= REPORT_EVERY_S:
            last = now
            rate = export.count / (now - began)
            say(f"{export.count:,} events ({rate:,.0f}/s); index {page.next_index:,} of {page.end:,}")
    file.sync()


class _OutputError(Exception):
    """The export cannot be written. The message says why."""


class _OutputFile:
    """The file of an export, or standard output if `path` is None. If the export is resumed, lines are added to it.

    Raises CommandError if it exists otherwise or cannot be opened, and _OutputError if it cannot be written.
    """

    def __init__(self, path: Path | None, *, is_resumed: bool) -> None:
        self.path = path
        is_special = path is not None and path.exists() and not path.is_file()  # a pipe or a device
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | (0 if is_resumed or is_special else os.O_EXCL)
        try:
            self._file = os.dup(sys.stdout.fileno()) if path is None else os.open(path, flags, 0o600)
        except FileExistsError:
            raise CommandError(f"{path} exists: remove it, or go on behind its last event with --resume") from None
        except OSError as error:
            raise CommandError(f"Cannot write {path}: {error.strerror}") from None

    def __enter__(self) -> _OutputFile:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def write(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            raise _OutputError(error.strerror) from None

    def sync(self) -> None:
        """Waits until a file is on its disk."""
        try:
            if self.path is not None:
                os.fsync(self._file)
        except OSError as error:
            if error.errno != errno.EINVAL:  # a pipe or a device, which has no disk
                raise _OutputError(error.strerror) from None


def _render(page: ExportPage, format: ExportFormat) -> bytes:
    import orjson

    from service.wire.audit import render_audit_event
    from service.wire.ocsf import render_ocsf

    render = render_ocsf if format == "ocsf" else render_audit_event
    return b"".join(orjson.dumps(render(event)) + b"\n" for event in page.events)


async def _project_id(writer: Writer, named: str) -> str:
    from events.installation import INSTALLATION_PROJECT
    from service.cli import admin

    return named if named == INSTALLATION_PROJECT else await admin.project_id_of(writer.pool, named)


def _next_index(output: Path) -> int:
    """Returns the index after that of the file's last event, and cuts off a line that was not written wholly.

    Returns 0 if there is no file. Raises CommandError if its last line is no event.
    """
    import orjson

    if output.exists() and not output.is_file():
        raise CommandError(f"--resume: {output} is no regular file")
    try:
        with output.open("r+b") as file:
            end = _find_line_end(file, file.seek(0, os.SEEK_END))
            file.truncate(end)
            if end == 0:
                return 0
            file.seek(_find_line_end(file, end - 1))
            event = orjson.loads(file.readline())
            index = event["metadata"]["sequence"] if "metadata" in event else event["index"]
            return int(index) + 1
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise CommandError(f"Cannot read {output}: {error.strerror}") from None
    except (ValueError, TypeError, KeyError):
        raise CommandError(f"The last line of {output} is no event of an export") from None


def _find_line_end(file: BinaryIO, before: int) -> int:
    """Returns the place behind the last end of a line before the place `before`; 0 if there is none."""
    while before > 0:
        begin = max(0, before - BLOCK_BYTES)
        file.seek(begin)
        found = file.read(before - begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        before = begin
    return 0
