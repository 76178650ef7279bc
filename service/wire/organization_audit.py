"""Parses and renders GET /v1/organization/audit_logs, in the shape of the original's, for connectors that read that.

It has the acts of administration: keys, projects, failed sign-ins, deleted objects, and changes of the installation,
under the original's names of types. `service.wire.audit` has all events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from events.actors import CommandLineActor, KeyActor, TokenActor, parse_actor
from events.errors import Rejection
from events.leaves import SALT_BYTES
from service.wire import storable_text
from service.wire.audit import AuditedEvent, client_facts
from service.wire.audit_log_types import ORIGINAL_TYPES
from service.wire.query import MAX_SECONDS
from service.wire.validation_errors import invalid_value

MAX_LOGS_PAGE, DEFAULT_LOGS_PAGE = 100, 20
MAX_VALUES = 100
# The original's types of entries, with the types of our events.
TYPES: Mapping[str, tuple[str, ...]] = {
    "api_key.created": ("key.created",),
    "api_key.updated": ("key.modified",),
    "api_key.deleted": ("key.revoked",),
    "project.created": ("project.created",),
    "project.updated": ("project.renamed",),
    "login.failed": ("sign_ins.failed",),
    "organization.updated": (
        "installation.created",
        "epoch.begun",
        "log_key.used",
        "server.started",
        "retention.set",
        "hold.placed",
        "hold.ended",
        "key_epoch.begun",
        "key_epoch.destroyed",
    ),
    "resource.deleted": (
        "assistant.deleted",
        "file.deleted",
        "thread.deleted",
        "vector_store.deleted",
        "webhook_endpoint.deleted",
    ),
}
_NAMES = {type: name for name, types in TYPES.items() for type in types}
_PREFIX = "audit_log-"
_NO_END = 2**62


@dataclass(frozen=True, slots=True)
class AuditLogQuery:
    """The query of a page: entries with indexes between `newer_than` and `older_than`, neither included, newest first.

    `types` are those of our events. Other conditions that are null let all through.
    """

    limit: int
    newer_than: int
    older_than: int
    types: tuple[str, ...]
    projects: tuple[str, ...] | None
    actors: tuple[str, ...] | None
    resources: tuple[str, ...] | None
    since: datetime | None
    until: datetime | None


def parse_audit_log_query(query: Mapping[str, str], lists: Mapping[str, tuple[str, ...]]) -> AuditLogQuery:
    """`lists` are the values of the repeatable parameters, by name. Raises Rejection."""
    for name, values in lists.items():
        if len(values) > MAX_VALUES or not all(map(storable_text.is_storable, values)):
            message = f"Invalid '{name}': must be at most {MAX_VALUES} texts."
            raise Rejection(message, param=name, code="invalid_value")
    for type in lists["event_types"]:
        if type not in ORIGINAL_TYPES:
            raise invalid_value("event_types", type, tuple(TYPES))
    wanted = lists["event_types"] or tuple(TYPES)
    bounds = {name: _parse_number(query, f"effective_at[{name}]", MAX_SECONDS) for name in ("gt", "gte", "lt", "lte")}
    since = [bound + more for name, more in (("gt", 1), ("gte", 0)) if (bound := bounds[name]) is not None]
    until = [bound + more for name, more in (("lt", 0), ("lte", 1)) if (bound := bounds[name]) is not None]
    limit = _parse_number(query, "limit", MAX_LOGS_PAGE)
    if limit == 0:
        raise Rejection(f"Invalid 'limit': must be from 1 to {MAX_LOGS_PAGE}.", param="limit", code="invalid_value")
    actors = [actor for id in lists["actor_ids"] for actor in (id, f"key:{id}", f"token:{id}", f"cli:{id}")]
    return AuditLogQuery(
        limit=limit or DEFAULT_LOGS_PAGE,
        newer_than=_parse_id(query, "before", -1),
        older_than=_parse_id(query, "after", _NO_END),
        types=tuple(type for name in wanted for type in TYPES.get(name, ())),
        projects=lists["project_ids"] or None,
        actors=tuple(actors) or None,
        resources=lists["resource_ids"] or None,
        since=datetime.fromtimestamp(max(since), UTC) if since else None,
        until=datetime.fromtimestamp(min(until), UTC) if until else None,
    )


def render_audit_log(event: AuditedEvent) -> dict[str, Any]:
    """Returns the entry of an event of one of TYPES. If its content was erased, it has only the id of the object."""
    content = None if event.content is None else orjson.loads(event.content[SALT_BYTES:])
    name = _NAMES[event.type]
    return {
        "id": f"{_PREFIX}{event.log_index}",
        "object": "organization.audit_log",
        "type": name,
        "effective_at": int(event.at.timestamp()),
        "project": {"id": event.project_id, "name": event.project_id},
        "actor": _render_actor(event),
        name: _render_details(name, event.stream_id, content),
    }


def render_audit_log_page(entries: list[dict[str, Any]], *, more: bool) -> dict[str, Any]:
    return {
        "object": "list",
        "data": entries,
        "first_id": entries[0]["id"] if entries else None,
        "last_id": entries[-1]["id"] if entries else None,
        "has_more": more,
    }


def _render_actor(event: AuditedEvent) -> dict[str, Any]:
    """Returns the actor: a key as a service account's, everyone else as the user of a session."""
    facts = client_facts(event)
    actor = parse_actor(event.actor)
    match actor:
        case KeyActor(key_id=key_id) | TokenActor(key_id=key_id):
            account = {"id": key_id}
            key = {"id": key_id, "type": "service_account", "service_account": account}
            return {"type": "api_key", "api_key": key}
        case CommandLineActor(account=account_name):
            user = {"id": account_name or event.actor, "email": account_name or event.actor}
        case _others:
            user = {"id": event.actor, "email": event.actor}
    session = {"user": user, "ip_address": facts.get("address"), "user_agent": facts.get("user_agent")}
    return {"type": "session", "session": session}


def _render_details(name: str, stream_id: str, content: Mapping[str, Any] | None) -> dict[str, Any]:
    details: dict[str, Any] = {"id": stream_id}
    if content is None:
        return details
    if name == "api_key.created":
        details["data"] = {"scopes": [content["scope"]]}
    elif name == "project.created":
        details["data"] = {"name": content["name"], "title": content["name"]}
    elif name == "project.updated":
        details["changes_requested"] = {"title": content["name"]}
    elif name == "login.failed":
        message = f"{content['count']} requests had a wrong {content['credential']}."
        return {"error_code": f"invalid_{content['credential']}", "error_message": message}
    elif name == "organization.updated":
        details["changes_requested"] = {key: value for key, value in content.items() if key != "type"}
    return details


def _parse_id(query: Mapping[str, str], name: str, default: int) -> int:
    given = query.get(name)
    if not given:
        return default
    digits = given.removeprefix(_PREFIX)
    if not given.startswith(_PREFIX) or not (digits.isascii() and digits.isdigit()) or len(digits) > 18:
        message = f"Invalid '{name}': '{given[:64]}' is no id of an entry."
        raise Rejection(message, param=name, code="invalid_value")
    return int(digits)


def _parse_number(query: Mapping[str, str], name: str, most: int) -> int | None:
    given = query.get(name)
    if not given:
        return None
    if not (given.isascii() and given.isdigit()) or len(given) > 18 or int(given) > most:
        message = f"Invalid '{name}': must be an integer from 0 to {most}."
        raise Rejection(message, param=name, code="invalid_value")
    return int(given)
