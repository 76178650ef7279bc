"""What a person at the terminal sees while the server starts: one line for each step, spinning until it is done."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


class StartProgress:
    """Steps that may run at once. Where output is no terminal, each finished step is a plain line."""

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
        """The start is over; what follows is printed plainly."""
        self._progress.stop()

    def say(self, line: str) -> None:
        """One line that stays."""
        self._console.print(line, highlight=False, soft_wrap=True)

    @contextmanager
    def step(self, doing: str, done: str) -> Iterator[None]:
        """Shows `doing` while the body runs; `done` and the seconds it took stay, unless it raises."""
        began = time.monotonic()
        if not self._console.is_terminal:
            self.say(f"  {doing} …")
        task = self._progress.add_task(f"{doing} …", total=None)
        try:
            yield
        finally:
            self._progress.remove_task(task)
        self.say(f"[green]✓[/] {done} [dim]({time.monotonic() - began:.1f} s)[/]")
