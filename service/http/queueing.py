"""Decides if a message or a run that arrives while its thread has an active run is refused or queued, or if a run
interrupts that run.

EVERTHREAD_BUSY decides it for the server, and the header Everthread-Busy for one request. Only the header can say
"interrupt".
"""

from __future__ import annotations

from typing import Literal, get_args

from aiohttp import web

from service.http.errors import ApiError
from service.http.services import RUNS

Busy = Literal["reject", "queue", "interrupt"]
HEADER = "Everthread-Busy"
OF_MESSAGES: tuple[Busy, ...] = ("reject", "queue")
OF_RUNS: tuple[Busy, ...] = get_args(Busy)


def parse_busy(request: web.Request, values: tuple[Busy, ...]) -> Busy:
    """Returns the choice for the request. Raises ApiError if the header has another value than `values`."""
    said = request.headers.get(HEADER, request.app[RUNS].busy).strip().lower()
    for value in values:
        if said == value:
            return value
    named = ", ".join(f"'{value}'" for value in values)
    raise ApiError(400, f"Invalid value for the header '{HEADER}': '{said[:64]}'. Supported values are: {named}.")
