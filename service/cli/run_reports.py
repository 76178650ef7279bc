"""`everthread replay --diff` and `--bundle`: reports about whole runs."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from service.cli.keys import say
from service.cli.show import printable
from service.errors import CommandError

if TYPE_CHECKING:
    from service.replay.model_lookup import ModelLookup
    from service.replay.run_diff import EventPair
    from service.replay.run_reader import RunReader

# Characters of a cell.
MAX_CELL = 200


async def read_entries(reader: RunReader, models: ModelLookup) -> list[dict[str, Any]]:
    """Returns the entries of the run as JSON. Raises CommandError if the thread has no such run."""
    from service.replay.run_view import RunView

    view = RunView(models)
    entries = [await asyncio.to_thread(view.to_json, entry) async for entry in reader.entries()]
    if not entries:
        raise CommandError(f"The thread has no run '{reader.timeline.run_id}'.")
    return entries


async def write_bundle(reader: RunReader, models: ModelLookup, file: Path) -> None:
    """Writes the run without its texts to a file that only its owner can read. Raises CommandError if it exists."""
    from events.software_version import release_name
    from service.replay.run_bundle import make_bundle

    entries = await read_entries(reader, models)
    bundle = make_bundle(entries, software=release_name(), run_id=reader.timeline.run_id)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}") from None
    with os.fdopen(descriptor, "wb") as writer:
        writer.write(orjson.dumps(bundle, option=orjson.OPT_INDENT_2) + b"\n")
    say(f"{len(entries)} events written to {file}, without texts.")


def print_diff(left: Sequence[dict[str, Any]], right: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    """Prints two runs side by side, and where they part."""
    from service.replay.run_diff import compare_runs, first_difference

    pairs = compare_runs(left, right)
    place = first_difference(pairs)
    if as_json:
        for number, pair in enumerate(pairs):
            sys.stdout.write(orjson.dumps(_pair_json(pair, is_parting=number == place)).decode() + "\n")
        return
    table = Table(show_edge=False, pad_edge=False)
    for title in ("", left[0]["content"]["run_id"], right[0]["content"]["run_id"]):
        table.add_column(Text(title), overflow="fold")
    for number, pair in enumerate(pairs):
        if number == place:
            table.add_row("", Text("the runs part here", "bold yellow"), "")
        style = "" if pair.is_equal else "yellow"
        table.add_row("=" if pair.is_equal else "≠", Text(_cell(pair.left), style), Text(_cell(pair.right), style))
        for found in pair.differences:
            values = [printable(value or "–", MAX_CELL) for value in (found.left, found.right)]
            table.add_row("", Text(f"  {found.path}: {values[0]}", "red"), Text(f"  {values[1]}", "green"))
    Console().print(table)
    if place is None:
        say("The runs are alike, apart from ids and times.")


def _cell(entry: Any) -> str:
    return "" if entry is None else printable(f"{entry['version']} {entry['type']} {entry['summary']}", MAX_CELL)


def _pair_json(pair: EventPair, *, is_parting: bool) -> dict[str, Any]:
    return {
        "left": None if pair.left is None else pair.left["version"],
        "right": None if pair.right is None else pair.right["version"],
        "type": (pair.left or pair.right or {}).get("type"),
        "is_equal": pair.is_equal,
        "is_parting": is_parting,
        "differences": [{"path": found.path, "left": found.left, "right": found.right} for found in pair.differences],
    }
