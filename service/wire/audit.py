"""Parses and renders the audit feed. The original API has none; it is the same in v1 and v2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import orjson

from events.clients import commit_client, open_client
from events.errors import Rejection
from events.leaves import SALT_BYTES
from service.wire import storable_text
from service.wire.query import MAX_SECONDS, parse_bounded_integer
from service.wire.validation_errors import invalid_value

MAX_AUDIT_PAGE, DEFAULT_AUDIT_PAGE = 1000, 100
MAX_TYPES = 100
_TEXTS = ("project_id", "actor", "stream_id", "request_id")
_KNOWN = frozenset(
    {*_TEXTS, "after", "limit", "type", "type[]", "since", "until", "include", "include[]", "stream", "order"}
)
_MAX_INDEX = 2**62


class AuditedEvent(Protocol):
    """An event of the feed, as it is rendered."""

    @property
    def log_index(self) -> int: ...
    @property
    def stream_id(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def type(self) -> str: ...
    @property
    def at(self) -> datetime: ...
    @property
    def project_id(self) -> str: ...
    @property
    def actor(self) -> str: ...
    @property
    def request_id(self) -> str | None: ...
    @property
    def cause(self) -> str | None: ...
    @property
    def client(self) -> bytes | None: ...
    @property
    def client_content(self) -> bytes | None: ...
    @property
    def algorithm(self) -> int: ...
    @property
    def schema_version(self) -> int: ...
    @property
    def software_version(self) -> str: ...
    @property
    def commitment(self) -> bytes: ...
    @property
    def leaf(self) -> bytes: ...
    @property
    def content(self) -> bytes | None: ...


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """The query of a page: events with indexes above `after`, and the conditions that they must meet.

    `is_newest_first` if the page has the newest event first, and indexes below `after`. `is_stream` if the answer is a
    stream that goes on behind the newest event.
    """

    after: int
    limit: int
    project_id: str | None
    actor: str | None
    stream_id: str | None
    request_id: str | None
    types: tuple[str, ...]
    since: datetime | None
    until: datetime | None
    has_contents: bool
    is_newest_first: bool
    is_stream: bool


def parse_audit_query(query: Mapping[str, str], types: tuple[str, ...], include: tuple[str, ...]) -> AuditQuery:
    """`types` and `include` are the values of the repeatable parameters. Raises Rejection.

    Unknown parameters are refused, so that a misspelt filter does not let everything through.
    """
    for name in query:
        if name not in _KNOWN:
            raise Rejection(f"Unknown parameter: '{name[:100]}'.", param=name[:100], code="unknown_parameter")
    for name in _TEXTS:
        if not storable_text.is_storable(query.get(name, "")):
            raise storable_text.unstorable(name)
    if len(types) > MAX_TYPES or not all(map(storable_text.is_storable, types)):
        raise Rejection(f"'type' must be at most {MAX_TYPES} names of types.", param="type", code="invalid_value")
    for value in include:
        if value != "content":
            raise invalid_value("include", value, ("content",))
    stream = query.get("stream", "false")
    if stream not in ("true", "false"):
        raise invalid_value("stream", stream, ("true", "false"))
    order = query.get("order", "asc")
    if order not in ("asc", "desc"):
        raise invalid_value("order", order, ("asc", "desc"))
    if order == "desc" and stream == "true":
        raise Rejection("A stream of events has the order 'asc'.", param="order", code="invalid_value")
    return AuditQuery(
        after=parse_bounded_integer(query, "after", -1, _MAX_INDEX, -1 if order == "asc" else _MAX_INDEX),
        limit=parse_bounded_integer(query, "limit", 1, MAX_AUDIT_PAGE, DEFAULT_AUDIT_PAGE),
        project_id=query.get("project_id") or None,
        actor=query.get("actor") or None,
        stream_id=query.get("stream_id") or None,
        request_id=query.get("request_id") or None,
        types=types,
        since=_parse_time(query, "since"),
        until=_parse_time(query, "until"),
        has_contents="content" in include,
        is_newest_first=order == "desc",
        is_stream=stream == "true",
    )


def parse_proof_query(query: Mapping[str, str]) -> bool:
    """Says whether the query of a proof asks for the event's salt and JSON. Raises Rejection."""
    for name, value in query.items():
        if name not in ("include", "include[]"):
            raise Rejection(f"Unknown parameter: '{name[:100]}'.", param=name[:100], code="unknown_parameter")
        if value != "content":
            raise invalid_value("include", value, ("content",))
    return bool(query)


def _parse_time(query: Mapping[str, str], name: str) -> datetime | None:
    """Returns a time that is given in Unix seconds or RFC 3339; None if it is absent. Raises Rejection."""
    given = query.get(name)
    if not given:
        return None
    try:
        if given.isascii() and given.isdigit():
            return datetime.fromtimestamp(min(int(given), MAX_SECONDS), UTC)
        at = datetime.fromisoformat(given)
        if at.tzinfo is None:
            raise ValueError
        return at.astimezone(UTC)
    except (ValueError, OverflowError):
        message = f"Invalid '{name}': '{given[:64]}' is neither Unix seconds nor a time such as 2026-11-28T12:00:00Z."
        raise Rejection(message, param=name, code="invalid_value") from None


def render_audit_event(event: AuditedEvent) -> dict[str, Any]:
    """Returns the envelope of the event; bytes are hexadecimal digits. It has its content and salt if they were read.

    `client` has the facts about the client, if they are not deleted.
    """
    client = None
    if event.client is not None:
        client = {"commitment": event.client.hex(), **client_facts(event)}
    rendered: dict[str, Any] = {
        "object": "audit.event",
        "index": event.log_index,
        "stream_id": event.stream_id,
        "version": event.version,
        "type": event.type,
        "at": event.at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "project_id": event.project_id,
        "actor": event.actor,
        "request_id": event.request_id,
        "cause": event.cause,
        "client": client,
        "algorithm": event.algorithm,
        "schema_version": event.schema_version,
        "software_version": event.software_version,
        "commitment": event.commitment.hex(),
        "leaf": event.leaf.hex(),
    }
    if event.content is not None:
        rendered["salt"] = event.content[:SALT_BYTES].hex()
        rendered["content"] = orjson.loads(event.content[SALT_BYTES:])
    return rendered


def client_facts(event: AuditedEvent) -> Mapping[str, Any]:
    """Returns the facts about the client; none if they were deleted, or are not those that the event commits to."""
    content = event.client_content
    return {} if content is None or commit_client(content) != event.client else open_client(content)


def render_audit_page(
    events: list[dict[str, Any]], *, more: bool, size: int, epoch: int, lost_from: int | None
) -> dict[str, Any]:
    """The next page begins after `last_index`.

    `size` is the number of events in the log, and `epoch` its newest epoch. `lost_from` is the first of the indexes up
    to the reader's cursor whose events a restore removed, null if there are none.
    """
    return {
        "object": "list",
        "data": events,
        "last_index": events[-1]["index"] if events else None,
        "has_more": more,
        "log_size": size,
        "epoch": epoch,
        "lost_from": lost_from,
    }


def render_events_lost(*, after: int, lost_from: int, epoch: int) -> dict[str, Any]:
    """Returns the notice of a stream that a restore removed events with indexes from `lost_from` to `after`."""
    return {"object": "audit.events_lost", "lost_from": lost_from, "after": after, "epoch": epoch}
