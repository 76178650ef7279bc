"""Reports that there is no network at the first attempt of a call to use it.

Every Python inside imports this module at its start, under the name `sitecustomize`. It only adds a hook that sees name
look-ups and internet sockets; the system-call filter is what refuses them. It runs under any Python 3.8 or newer,
because the system's own Python may import it too.
"""

from __future__ import annotations

import os
import sys
from types import FrameType
from typing import Any

NOTICE = "/opt/code/notice.txt"
# The variable with the link to the session's output, by which a process knows whether its own stderr is shown.
OUTPUT = "SANDBOX_OUTPUT"
# A process whose stderr is not shown writes this file, and the session prints the notice at the end of the call.
UNSEEN_ATTEMPT = "/tmp/.no-network"
_LOOKUPS = frozenset(("socket.getaddrinfo", "socket.gethostbyname"))
_INTERNET = (2, 10)  # AF_INET, AF_INET6
_is_reported = False


def reset() -> None:
    """Begins a call: the next attempt is reported again."""
    global _is_reported
    _is_reported = False
    try:
        os.unlink(UNSEEN_ATTEMPT)
    except OSError:
        return  # processes that the last call left behind wrote none


def report() -> None:
    """Prints the notice to the file descriptor 2, once until `reset`. If that is not shown, leaves a mark instead."""
    global _is_reported
    if _is_reported:
        return
    _is_reported = True
    try:
        sys.stdout.flush()
        if os.environ.get(OUTPUT, "") in ("", os.readlink("/proc/self/fd/2")):
            with open(NOTICE, "rb") as file:
                os.write(2, file.read())
        else:
            with open(UNSEEN_ATTEMPT, "w"):
                pass
    except (OSError, ValueError, AttributeError):
        return  # the streams or the file are closed, and the error of the attempt follows in any case


def report_unseen() -> None:
    """Prints the notice at the end of a call if the stderr of each process that made an attempt was not shown."""
    try:
        os.unlink(UNSEEN_ATTEMPT)
    except OSError:
        return  # there was none
    report()


def _is_importing() -> bool:
    """Returns whether a module is being imported. Some, such as urllib3, try a socket only to find IPv6."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _LOOKUPS or (event == "socket.__new__" and arguments[1] in _INTERNET and not _is_importing()):
        report()


sys.addaudithook(_watch)
