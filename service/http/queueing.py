"""What becomes of a message or a run that comes while its thread has an active run: refused, or queued.

EVERTHREAD_BUSY says it for the server, the header Everthread-Busy for one request.
"""

from __future__ import annotations

from typing import Literal, get_args

from aiohttp import web

from service.http.context import deps
from service.http.errors import ApiError

Busy = Literal["reject", "queue"]
HEADER = "Everthread-Busy"
VALUES: tuple[Busy, ...] = get_args(Busy)


def queues(request: web.Request) -> bool:
    """Whether the request is to be queued behind an active run. Raises ApiError for a header that says neither."""
    said = request.headers.get(HEADER, deps(request).busy).strip().lower()
    if said not in VALUES:
        named = ", ".join(f"'{value}'" for value in VALUES)
        raise ApiError(400, f"Invalid value for the header '{HEADER}': '{said[:64]}'. Supported values are: {named}.")
    return said == "queue"
