"""Runs the command line, as `everthread` and as `python -m service.cli`."""

from __future__ import annotations

import gc
import signal
import sys


def main() -> None:
    """Runs the command line. Ctrl-C ends it with exit code 130, also while its modules are imported."""
    try:
        _load_and_run()
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def _load_and_run() -> None:
    """Imports the command line without collections of garbage, which take a fifth of the time, and runs it.

    Nearly all objects that an import makes stay until the process ends, so no later collection visits them either.
    """
    gc.disable()
    from service.cli.main import main as run_command_line  # imported here, while no collection runs

    gc.freeze()
    gc.enable()
    run_command_line()


if __name__ == "__main__":
    main()
