"""Parses requests for forks of threads. The original API has none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from events.errors import Rejection
from service.wire.as_of import AsOf, parse_as_of
from service.wire.fields import Metadata, RequestBody
from service.wire.requests import parse_body
from service.wire.validation_errors import invalid_type

# Names the thread that a fork was made from, and the version: "thread_…; version=12".
ORIGIN_HEADER = "everthread-fork-origin"
_MAX_POINT = 256
_MAX_NUMBER = 10**18


@dataclass(frozen=True, slots=True)
class AfterMessage:
    """The point just after a message was added or written."""

    message_id: str


@dataclass(frozen=True, slots=True)
class AfterRun:
    """The point just after a run ended, or the present if it has not ended."""

    run_id: str


@dataclass(frozen=True, slots=True)
class ForkRequest:
    """`at` is None for the present, `metadata` None for that of the origin."""

    at: AsOf | AfterMessage | AfterRun | None
    metadata: dict[str, str] | None


class Fork(RequestBody):
    at: Any = None
    metadata: Metadata | None = None


def parse_fork(body: Any) -> ForkRequest:
    """Returns the request. Raises Rejection."""
    request = parse_body(Fork, body)
    return ForkRequest(None if request.at is None else parse_fork_point(_point_text(request.at)), request.metadata)


def _point_text(at: object) -> str:
    """Returns the point as text. Raises Rejection if it is no number or text within the bounds."""
    if isinstance(at, bool) or not isinstance(at, int | float | str):
        raise invalid_type("at", "an integer, a number or a string", at)
    if isinstance(at, str) and len(at) > _MAX_POINT:
        raise Rejection(f"Invalid 'at': it has more than {_MAX_POINT} characters.", param="at", code="invalid_value")
    if not isinstance(at, str) and abs(at) > _MAX_NUMBER:
        raise Rejection(f"Invalid 'at': the number is above {_MAX_NUMBER}.", param="at", code="invalid_value")
    return str(at)


def parse_fork_point(given: str) -> AsOf | AfterMessage | AfterRun:
    """Returns the point that a text names: a message or a run by its id, or a point in time (`parse_as_of`)."""
    if given.startswith("msg_"):
        return AfterMessage(given)
    if given.startswith("run_"):
        return AfterRun(given)
    return parse_as_of(given)


def format_origin(thread_id: str, version: int) -> str:
    """Returns the value of ORIGIN_HEADER."""
    return f"{thread_id}; version={version}"
