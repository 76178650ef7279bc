"""A terminal that shows whole screens and reads single keys, by termios and the escape sequences of ECMA-48."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from io import StringIO

from rich.console import Console
from rich.text import Text

from service.errors import CommandError

# The least size of a screen in columns and lines, for terminals that do not know theirs.
MIN_WIDTH, MIN_HEIGHT = 20, 4
_HIDE_CURSOR = "\x1b[?25l"
_BEGIN = f"\x1b[?1049h{_HIDE_CURSOR}\x1b[?7l"  # the other screen, without a cursor, and without wrapping
_END = "\x1b[?7h\x1b[?25h\x1b[?1049l"
_SEQUENCES = {
    "\x1b[A": "up",
    "\x1b[B": "down",
    "\x1b[C": "right",
    "\x1b[D": "left",
    "\x1bOA": "up",
    "\x1bOB": "down",
    "\x1bOC": "right",
    "\x1bOD": "left",
    "\x1b[5~": "page-up",
    "\x1b[6~": "page-down",
    "\x1b[H": "home",
    "\x1b[F": "end",
    "\x1b[1~": "home",
    "\x1b[4~": "end",
    "\r": "enter",
    "\n": "enter",
    "\x03": "ctrl-c",
    "\x04": "ctrl-d",
}


class Terminal:
    """The terminal of the process. Open it by `open_terminal`."""

    def __init__(self) -> None:
        self._events: asyncio.Queue[str] = asyncio.Queue()

    @property
    def size(self) -> tuple[int, int]:
        """The columns and the lines of the screen."""
        found = os.get_terminal_size(sys.stdout.fileno())
        return max(MIN_WIDTH, found.columns), max(MIN_HEIGHT, found.lines)

    async def next_key(self) -> str:
        """Returns the name of the next key, or `resize` if the screen has another size."""
        return await self._events.get()

    def read(self) -> None:
        """Reads the keys that were pressed. Unknown sequences are dropped; `ctrl-d` stands for the end of the input."""
        data = os.read(sys.stdin.fileno(), 1024).decode(errors="ignore")
        for key in keys_of(data) if data else ["ctrl-d"]:
            self._events.put_nowait(key)

    def note_resize(self) -> None:
        """Notes that the screen has another size."""
        self._events.put_nowait("resize")

    def draw(self, lines: Sequence[Text]) -> None:
        """Shows the lines from the top of the screen on. Colours follow the environment, such as NO_COLOR."""
        width, height = self.size
        console = Console(file=StringIO(), force_terminal=True, width=width, legacy_windows=False)
        for number, line in enumerate(lines):
            console.print(line, end="" if number == len(lines) - 1 else "\n", no_wrap=True, crop=True, highlight=False)
        assert isinstance(console.file, StringIO)
        # Each row is erased before it is written: behind a row of the whole width, that would erase its last character.
        rows = [f"\x1b[K{row}" for row in console.file.getvalue().split("\n")]
        rest = "\r\n\x1b[J" if len(rows) < height else ""
        sys.stdout.write("\x1b[H" + "\r\n".join(rows) + rest + _HIDE_CURSOR)
        sys.stdout.flush()


def keys_of(data: str) -> list[str]:
    """Returns the names of the keys whose bytes these are. Unknown escape sequences are dropped."""
    keys: list[str] = []
    while data:
        sequence = next((known for known in _SEQUENCES if data.startswith(known)), None)
        if sequence is not None:
            keys.append(_SEQUENCES[sequence])
            data = data[len(sequence) :]
        elif data[0] == "\x1b":
            data = _after_sequence(data)
        else:
            keys.append(data[0])
            data = data[1:]
    return keys


def _after_sequence(data: str) -> str:
    """Returns the text behind an escape sequence that is unknown: it ends with its first letter or tilde."""
    if data[1:2] not in ("[", "O"):
        return data[2:]
    end = next((place for place, each in enumerate(data[2:], start=3) if each.isalpha() or each == "~"), len(data))
    return data[end:]


@asynccontextmanager
async def open_terminal() -> AsyncIterator[Terminal]:
    """Opens the terminal for whole screens, and restores it afterwards. Raises CommandError if there is none."""
    try:
        import termios
        import tty
    except ImportError:
        raise CommandError("--step needs a terminal of Unix.") from None
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise CommandError("--step needs a terminal: standard input and output are not one.")
    terminal, loop, keyboard = Terminal(), asyncio.get_running_loop(), sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    try:
        tty.setraw(keyboard, termios.TCSANOW)
        sys.stdout.write(_BEGIN)
        sys.stdout.flush()
        loop.add_reader(keyboard, terminal.read)
        loop.add_signal_handler(signal.SIGWINCH, terminal.note_resize)
        yield terminal
    finally:
        loop.remove_reader(keyboard)
        loop.remove_signal_handler(signal.SIGWINCH)
        sys.stdout.write(_END)
        sys.stdout.flush()
        termios.tcsetattr(keyboard, termios.TCSANOW, before)
