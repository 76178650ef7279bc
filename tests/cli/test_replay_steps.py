"""`everthread replay --step`: its keys and screens, and the whole command in a terminal."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.text import Text

from events.thread.commands import ThreadCommand
from service.cli.run_steps import RunSteps, StepFacts
from service.cli.terminal import Terminal, keys_of
from service.database import Pool
from service.replay.run_timeline import RunTimeline
from service.replay.run_view import RunView
from service.replay.view_changes import read_changes
from tests.events.thread.story import CREATE, add, break_call, claim, finish, given, run, start
from tests.machine import clean_environment
from tests.projections.helpers import ORIGIN, make_thread, writer

WAIT_S = 60.0
ROOT = Path(__file__).parents[2]
_STYLE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def steps_of_a_run() -> RunSteps:
    """Returns the steps of a run whose first attempt breaks."""
    story = given(CREATE, add("Hi\x1b[31m\n漢字 " + "word " * 200))
    commands: list[ThreadCommand] = [run(claim=claim()), break_call("A part"), start("2"), finish("Hello.")]
    for second, command in enumerate(commands):
        story.do(command, after=second)
    view = RunView()
    entries = RunTimeline(story.state.id, "run_1", lambda _: "again").add(story.log)
    return RunSteps("run_1", [StepFacts(entry, view.prompt(entry), None, ()) for entry in entries])


def plain(steps: RunSteps, width: int = 100, height: int = 40) -> list[str]:
    return [line.plain for line in steps.screen(width, height)]


def test_keys_of_a_terminal() -> None:
    assert keys_of("n\x1b[C\x1bOD\x1b[6~\x1b[1;5Cq\x03\r") == [
        "n",
        "right",
        "left",
        "page-down",
        "q",
        "ctrl-c",
        "enter",
    ]
    assert keys_of("\x1b") == []
    assert keys_of("\x1bx?") == ["?"]


def test_forward_back_and_to_failures() -> None:
    steps = steps_of_a_run()
    assert "event 1 of" in plain(steps)[0]
    assert steps.press("right", 40) is False
    assert steps.position == 1
    steps.press("left", 40)
    steps.press("left", 40)
    assert steps.position == 0
    steps.press("f", 40)
    screen = "\n".join(plain(steps))
    assert "▶!" in screen
    assert "model_call.failed" in screen
    assert "The upstream broke." in screen
    steps.press("G", 40)
    steps.press("f", 40)
    assert plain(steps)[-1] == "There is no further failure in this direction."
    steps.press("F", 40)
    assert steps.position > 0
    assert steps.press("q", 40) is True


def test_the_pages() -> None:
    steps = steps_of_a_run()
    steps.press("f", 40)
    steps.press("e", 40)
    assert any("prompt rendered now, not recorded" in line for line in plain(steps, height=60))
    steps.press("s", 40)
    assert any(line.startswith("calls: 1") for line in plain(steps, height=80))
    steps.press("d", 40)
    assert any("changed nothing" in line for line in plain(steps))
    steps.press("?", 40)
    assert any("the next failure" in line for line in plain(steps))


@pytest.mark.parametrize(("width", "height"), [(20, 4), (20, 5), (40, 10), (80, 24), (300, 100), (21, 16)])
def test_every_screen_fits(width: int, height: int) -> None:
    steps = steps_of_a_run()
    for key in ("e", "right", "f", "page-down", "s", "d", "?", "e", *["down"] * 300, "G", "up"):
        steps.press(key, height)
        lines = steps.screen(width, height)
        assert len(lines) == height
        for line in lines:
            assert line.cell_len <= width
            assert line.plain.isprintable()


async def test_the_changes_of_views(pool: Pool) -> None:
    write = writer(pool)
    await make_thread(write, "thread_1")
    await write.thread(ORIGIN, "thread_1", add("Hi"))
    await write.thread(ORIGIN, "thread_1", run(claim=claim()))
    await write.thread(ORIGIN, "thread_1", finish("Hello."))
    version = (await pool.fetchval("SELECT max(version) FROM events WHERE stream_id = 'thread_1'")) or 0
    changes = await read_changes(pool, "thread_1", "run_1", hidden=frozenset(), until=version)
    [created] = changes[min(changes)]
    assert (created.id, created.before) == ("run_1", "")
    [ended] = changes[version]
    assert '-  "status": "in_progress",' in ended.diff()
    assert '+  "status": "completed",' in ended.diff()
    hidden = await read_changes(pool, "thread_1", "run_1", hidden=frozenset({"msg_1"}), until=version)
    assert "Hello." in str(changes)
    assert "Hello." not in str(hidden)


class Screen:
    """A terminal in which the command runs."""

    def __init__(self, master: int, process: subprocess.Popen[bytes]) -> None:
        self.master = master
        self.process = process
        self.output = ""

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def resize(self, width: int, height: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        self.process.send_signal(signal.SIGWINCH)

    def rows(self) -> list[str]:
        """Returns the rows of the newest whole screen."""
        screens = [part for part in self.output.split("\x1b[H")[1:] if part.endswith("\x1b[?25l")]
        return [_STYLE.sub("", row) for row in screens[-1].split("\r\n")] if screens else []

    async def wait_for(self, text: str) -> list[str]:
        """Waits until the newest screen has the text, and returns its rows."""
        async with asyncio.timeout(WAIT_S):
            while not any(text in row for row in self.rows()):
                self.output += (await asyncio.to_thread(os.read, self.master, 65536)).decode()
        return self.rows()


@contextmanager
def terminal(arguments: list[str], width: int, height: int, **env: str) -> Iterator[Screen]:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    clean = clean_environment()
    process = subprocess.Popen(
        [sys.executable, "-m", "service.cli", *arguments],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd=ROOT,
        env={**clean, "TERM": "xterm-256color", **env},
        start_new_session=True,
    )
    os.close(slave)
    try:
        yield Screen(master, process)
    finally:
        process.kill()
        process.wait()
        os.close(master)


def test_rows_of_the_whole_width_keep_their_last_character(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    width, height = 12, 3
    monkeypatch.setattr(Terminal, "size", (width, height))
    for rows in (["a" * width, "b" * width, "c" * width], ["d" * width, "short"]):
        Terminal().draw([Text(row) for row in rows])
        assert screen_of(capsys.readouterr().out, width, height) == rows


def screen_of(output: str, width: int, height: int) -> list[str]:
    """Returns the rows that a VT100 of this size shows: behind the last column, the cursor waits on it."""
    rows, row, column = ["x" * width for _ in range(height)], 0, 0
    for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]", output):
        at = min(column, width - 1)
        if part == "\x1b[H":
            row = column = 0
        elif part in ("\x1b[K", "\x1b[J"):
            rows[row] = rows[row][:at]
            rows[row + 1 :] = rows[row + 1 :] if part == "\x1b[K" else [""] * (height - row - 1)
        elif part == "\r":
            column = 0
        elif part == "\n":
            assert row + 1 < height, "the screen scrolls"
            row += 1
        elif part[0] != "\x1b":
            rows[row] = rows[row][:column].ljust(column) + part + rows[row][column + 1 :]
            column += 1
    return [row for row in rows if row]


@pytest.mark.slow
@pytest.mark.parametrize("colour", [{}, {"NO_COLOR": "1"}])
async def test_in_a_terminal(pool: Pool, database_url: str, colour: dict[str, str]) -> None:
    write = writer(pool)
    await make_thread(write, "thread_1")
    for command in (add("Hi"), run(claim=claim()), break_call("A part"), start("2"), finish("Hello.")):
        await write.thread(ORIGIN, "thread_1", command)
    arguments = ["replay", "run_1", "--step"]
    with terminal(arguments, 90, 30, EVERTHREAD_DATABASE_URL=database_url, **colour) as screen:
        rows = await screen.wait_for("event 1 of")
        assert len(rows) == 30
        assert ("\x1b[36m" in screen.output) is not bool(colour)
        screen.type("f")
        await screen.wait_for("▶!")
        screen.type("\x1b[C\x1b[D")
        screen.resize(40, 8)
        rows = await screen.wait_for("event 5 of")
        while len(rows) != 8:
            rows = await screen.wait_for("event 5 of")
            screen.output += os.read(screen.master, 65536).decode() if len(rows) != 8 else ""
        assert all(len(row) <= 40 for row in rows)
        screen.type("G")
        screen.type("d")
        await screen.wait_for("[views]")
        screen.type("q")
        assert await asyncio.to_thread(screen.process.wait, WAIT_S) == 0
        rest = os.read(screen.master, 65536).decode()
        assert "\x1b[?1049l" in screen.output + rest
