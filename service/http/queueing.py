"""Decides if a message or a run that arrives while its thread has an active run is refused or queued.

EVERTHREAD_BUSY decides it for the server, and the header Everthread-Busy for one request.
"""

from __future__ import annotations

from typing import Literal, get_args

from aiohttp import web

from service.http.errors import ApiError
from service.http.services import RUNS

Busy = Literal["reject", "queue"]
HEADER = "Everthread-Busy"
VALUES: tuple[Busy, ...] = get_args(Busy)


def queues(request: web.Request) -> bool:
    """Returns whether the request is queued behind an active run. Raises ApiError if the header has another value."""
    said = request.headers.get(HEADER, request.app[RUNS].busy).strip().lower()
    if said not in VALUES:
        named = ", ".join(f"'{value}'" for value in VALUES)
        raise ApiError(400, f"Invalid value for the header '{HEADER}': '{said[:64]}'. Supported values are: {named}.")
    return said == "queue"
