"""Progress of the start on the terminal: one line for each step, with a spinner until the step is done."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


class StartProgress:
    """Shows steps that may run at the same time. If output is not a terminal, each finished step is a plain line."""

    def __init__(self, console: Console) -> None:
        self._console = console
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        self._progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends the live display. Later output is printed as plain lines."""
        self._progress.stop()

    def say(self, line: str) -> None:
        """Prints a line above the live display."""
        self._console.print(line, highlight=False, soft_wrap=True)

    @contextmanager
    def step(self, doing: str, done: str) -> Iterator[None]:
        """Shows `doing` while the body runs, then prints `done` and the seconds it took if the body did not raise."""
        began = time.monotonic()
        if not self._console.is_terminal:
            self.say(f"  {doing} …")
        task = self._progress.add_task(f"{doing} …", total=None)
        try:
            yield
        finally:
            self._progress.remove_task(task)
        self.say(f"[green]✓[/] {done} [dim]({time.monotonic() - began:.1f} s)[/]")
