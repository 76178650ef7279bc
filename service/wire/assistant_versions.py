"""Parses and renders the versions of an assistant, which the original does not have. They are the same in v1 and v2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, assert_never

from pydantic import Field, Strict

from events.actors import actor_text
from events.assistant import AssistantCreated, AssistantDeleted, AssistantEvent, AssistantModified
from events.envelope import RecordedEvent
from events.objects import Json
from service.wire.as_of import FIRST_SECONDS
from service.wire.fields import DEFAULT_PAGE, MAX_PAGE, RequestBody
from service.wire.query import parse_bounded_integer
from service.wire.requests import parse_body

_MAX_VERSION = 2**62


class Restoration(RequestBody):
    """The body that restores a version of an assistant."""

    version: Annotated[int, Strict(), Field(ge=1, lt=FIRST_SECONDS)]


@dataclass(frozen=True, slots=True)
class VersionsQuery:
    """The query of a page: up to `limit` versions below `before`."""

    before: int
    limit: int


def parse_versions_query(query: Mapping[str, str]) -> VersionsQuery:
    """Raises Rejection if `before` is no version, or `limit` is not an integer from 1 to MAX_PAGE."""
    return VersionsQuery(
        before=parse_bounded_integer(query, "before", 1, _MAX_VERSION, _MAX_VERSION),
        limit=parse_bounded_integer(query, "limit", 1, MAX_PAGE, DEFAULT_PAGE),
    )


def parse_restoration(body: Any) -> int:
    """Returns the version to restore. Raises Rejection if the body is invalid."""
    return parse_body(Restoration, body).version


def restored_settings(settings: Json) -> Json:
    """Returns the changes that give an assistant these settings, the fields of an `Assistant`."""
    changes = {name: value for name, value in settings.items() if name not in ("id", "created_at")}
    return changes if changes["explicit_defaults"] else {n: v for n, v in changes.items() if n != "explicit_defaults"}


def render_version(assistant_id: str, recorded: RecordedEvent[AssistantEvent]) -> Json:
    """Returns the entry of the event that made a version. `changed` are the fields that it named."""
    match recorded.event:
        case AssistantCreated():
            change, names, restored_from = "created", list[str](), None
        case AssistantModified(changes=changes, restored_from=restored_from):
            change, names = "modified", [name for name in changes if name != "explicit_defaults"]
        case AssistantDeleted():
            change, names, restored_from = "deleted", [], None
        case _:
            assert_never(recorded.event)
    return {
        "object": "assistant.version",
        "assistant_id": assistant_id,
        "version": recorded.version,
        "created_at": int(recorded.at.timestamp()),
        "change": change,
        "changed": names,
        "restored_from": restored_from,
        "actor": actor_text(recorded.actor),
        "request_id": recorded.request_id,
    }


def render_versions_page(entries: Sequence[Json], *, more: bool) -> Json:
    """Returns the page. The next page is that before `last_version`, null if the page is empty."""
    return {
        "object": "list",
        "data": list(entries),
        "last_version": entries[-1]["version"] if entries else None,
        "has_more": more,
    }
