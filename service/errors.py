"""Errors that end a start or a command, and the causes of broken connections.

Each message of an error is one clear line for the person at the terminal.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Iterator

_ERRNO = re.compile(r"\[Errno (\d+)\]")
MAX_CAUSES = 10


class StartupError(Exception):
    """The server cannot start. The message says why and, if there is a remedy, what to do. It holds no secret."""


class CommandError(Exception):
    """A command cannot be carried out. The message says why and, if there is a remedy, what to do."""


def describe_connection_error(error: BaseException) -> str:
    """Returns a phrase for why a connection failed, without the names and addresses that the error's own text holds.

    Clients and strangers may see it, and must not learn the addresses of the network behind the server.
    """
    chain = list(_causes(error))
    for cause in chain:
        match cause:
            case socket.gaierror():
                return "its name cannot be resolved"
            case ssl.SSLCertVerificationError():
                return "its certificate is not valid"
            case ssl.SSLError():
                return "TLS failed"
            case TimeoutError():
                return "it did not answer in time"
            case OSError() if number := _errno(cause):
                return os.strerror(number).lower()
    return f"the connection broke ({type(chain[-1]).__name__})"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yields the error and its causes, up to MAX_CAUSES. Clients' errors hold the error of the system as os_error."""
    left: BaseException | None = error
    for _ in range(MAX_CAUSES):
        if left is None:
            return
        yield left
        inner = getattr(left, "os_error", None)
        left = inner if isinstance(inner, OSError) and inner is not left else left.__cause__ or left.__context__


def _errno(error: OSError) -> int | None:
    """Returns the number of the system's error. If several addresses were tried, the text alone holds it."""
    if error.errno:
        return error.errno
    found = _ERRNO.search(str(error))
    return int(found.group(1)) if found else None
