"""Renders events of the log as API Activity of the Open Cybersecurity Schema Framework (https://schema.ocsf.io).

Programs that collect the events of many systems (SIEM) read this schema. docs/audit.md, "The mapping to OCSF", lists
the attributes.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from ipaddress import ip_address
from typing import Any, assert_never, get_args

from events.actors import (
    CommandLineActor,
    KeyActor,
    ProcessActor,
    RunActor,
    SweepActor,
    TokenActor,
    ToolActor,
    UnknownActor,
    parse_actor,
)
from events.api_key import KeyEvent
from events.assistant import AssistantEvent
from events.file import FileEvent
from events.installation import InstallationEvent
from events.leaves import SALT_BYTES
from events.project import ProjectEvent
from events.session import SessionEvent
from events.thread.events import ThreadEvent
from events.upload import UploadEvent
from events.vector_store.events import VectorStoreEvent
from events.webhook_endpoint import WebhookEvent
from service.wire.audit import AuditedEvent, client_facts

OCSF_VERSION = "1.8.0"
_PRODUCT = "Everthread"
_SERVICE = "everthread"
_CATEGORY, _CLASS = 6, 6003
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Activity(IntEnum):
    """The values of `activity_id` in the class API Activity."""

    CREATE = 1
    READ = 2
    UPDATE = 3
    DELETE = 4
    OTHER = 99


class _UserType(IntEnum):
    UNKNOWN = 0
    USER = 1
    SERVICE = 4


_VERBS: Mapping[Activity, frozenset[str]] = {
    Activity.CREATE: frozenset({"created", "added", "written", "part_added", "batch_created", "files_added", "begun"}),
    Activity.READ: frozenset({"read"}),
    Activity.DELETE: frozenset({"deleted", "revoked", "file_removed"}),
}
_ACTIVITIES = {verb: activity for activity, verbs in _VERBS.items() for verb in verbs}
# Types of which the verb does not say the activity.
_EXCEPTIONS = {
    "key_epoch.destroyed": Activity.DELETE,
    "export.started": Activity.READ,
    "export.ended": Activity.READ,
    "import.started": Activity.CREATE,
    "import.ended": Activity.CREATE,
    "streams.imported": Activity.CREATE,
    "session.ended": Activity.OTHER,
    "server.started": Activity.OTHER,
    "sign_ins.failed": Activity.OTHER,
    "streams.erased": Activity.DELETE,
}
_EVENTS = {
    "assistant": AssistantEvent,
    "file": FileEvent,
    "upload": UploadEvent,
    "key": KeyEvent,
    "project": ProjectEvent,
    "thread": ThreadEvent,
    "vector_store": VectorStoreEvent,
    "webhook_endpoint": WebhookEvent,
    "installation": InstallationEvent,
    "session": SessionEvent,
}
# The kinds of streams by the types of their events.
_KINDS: Mapping[str, str] = {
    event.model_fields["type"].default: kind
    for kind, events in _EVENTS.items()
    for event in get_args(events) or (events,)
}


def kind_of(type: str) -> str | None:
    """Returns the kind of the streams that have events of a type; None if this software does not know the type."""
    return _KINDS.get(type)


def activity_of(type: str) -> Activity:
    """Returns the activity of a type of event: OTHER if this software does not know the type."""
    if type not in _KINDS:
        return Activity.OTHER
    return _EXCEPTIONS.get(type) or _ACTIVITIES.get(type.rpartition(".")[2], Activity.UPDATE)


def render_ocsf(event: AuditedEvent) -> dict[str, Any]:
    """Returns the event as API Activity. It has `raw_data` and a salt if the content was read."""
    activity = activity_of(event.type)
    name = event.type.rpartition(".")[2] if activity is Activity.OTHER else activity.name.capitalize()
    place = f"{event.stream_id}/{event.version}"
    is_failure = event.type == "sign_ins.failed"
    facts = client_facts(event)
    resource = {"uid": event.stream_id, "type": _KINDS.get(event.type, "unknown"), "namespace": event.project_id}
    rendered: dict[str, Any] = {
        "category_uid": _CATEGORY,
        "category_name": "Application Activity",
        "class_uid": _CLASS,
        "class_name": "API Activity",
        "activity_id": int(activity),
        "activity_name": name,
        "type_uid": 100 * _CLASS + activity,
        "type_name": f"API Activity: {name}",
        "severity_id": 2 if is_failure else 1,
        "severity": "Low" if is_failure else "Informational",
        "status_id": 2 if is_failure else 1,
        "status": "Failure" if is_failure else "Success",
        "time": (event.at - _EPOCH) // timedelta(milliseconds=1),
        "message": f"{event.type} in {place} by {event.actor}",
        "metadata": _render_metadata(event, place),
        "actor": _render_actor(event.actor),
        "api": _render_api(event),
        "src_endpoint": _render_source(event, facts),
        "resources": [resource],
        "unmapped": _render_unmapped(event, facts),
    }
    if request := _render_request(event, facts):
        rendered["http_request"] = request
    if event.content is not None:
        json = event.content[SALT_BYTES:]
        rendered |= {"raw_data": json.decode(), "raw_data_size": len(json)}
    return rendered


def _render_metadata(event: AuditedEvent, place: str) -> dict[str, Any]:
    metadata = {
        "version": OCSF_VERSION,
        "product": {"name": _PRODUCT, "vendor_name": _PRODUCT, "version": event.software_version},
        "uid": place,
        "sequence": event.log_index,
        "event_code": event.type,
        "log_name": _SERVICE,
        "original_time": event.at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "tenant_uid": event.project_id,
    }
    return metadata if event.request_id is None else metadata | {"correlation_uid": event.request_id}


def _render_actor(text: str) -> dict[str, Any]:
    """Returns the actor. `app_uid` is its text, as our own feed has it."""
    actor = parse_actor(text)
    rendered: dict[str, Any] = {"app_uid": text, "app_name": _SERVICE}
    match actor:
        case KeyActor(key_id=key_id):
            rendered["session"] = {"credential_uid": key_id}
            rendered["user"] = {"uid": key_id, "type_id": int(_UserType.SERVICE), "type": "Service"}
        case TokenActor(key_id=key_id):
            rendered["session"] = {"issuer": key_id}
            rendered["user"] = {"uid": key_id, "type_id": int(_UserType.SERVICE), "type": "Service"}
        case CommandLineActor(account=""):
            rendered["user"] = {"name": text, "type_id": int(_UserType.UNKNOWN), "type": "Unknown"}
        case CommandLineActor(account=account):
            name, _, host = account.rpartition("@")
            rendered["user"] = {"uid": account, "type_id": int(_UserType.USER), "type": "User", "name": name or account}
            if host and name:
                rendered["user"]["domain"] = host
        case ProcessActor(process=process):
            rendered["process"] = {"uid": str(process), "name": _SERVICE}
        case ToolActor(tool=tool):
            rendered["app_name"] = tool
        case SweepActor() | RunActor() | UnknownActor():
            pass
        case _:
            assert_never(actor)
    return rendered


def _render_api(event: AuditedEvent) -> dict[str, Any]:
    api: dict[str, Any] = {"operation": event.type, "service": {"name": _SERVICE}}
    return api if event.request_id is None else api | {"request": {"uid": event.request_id}}


def _render_source(event: AuditedEvent, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the peer of the request if its row is kept, else the host of the command line, or this service."""
    if address := facts.get("address"):
        ip = _parse_ip(address)
        return {"name": address} if ip is None else {"ip": ip}
    if event.client is not None:
        return {"uid": event.client.hex(), "name": "unknown"}
    actor = parse_actor(event.actor)
    if isinstance(actor, KeyActor | TokenActor | UnknownActor):
        return {"name": "unknown"}
    if isinstance(actor, CommandLineActor):
        return {"hostname": actor.account.rpartition("@")[2] or "unknown"}
    return {"svc_name": _SERVICE}


def _render_request(event: AuditedEvent, facts: Mapping[str, Any]) -> dict[str, Any]:
    request: dict[str, Any] = {}
    if event.request_id is not None:
        request["uid"] = event.request_id
    if agent := facts.get("user_agent"):
        request["user_agent"] = agent
    forwarded = [_parse_ip(part) for part in (facts.get("forwarded_for") or "").split(",")]
    if known := [ip for ip in forwarded if ip is not None]:
        request["x_forwarded_for"] = known
    return request


def _render_unmapped(event: AuditedEvent, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the facts that the class has no attribute for. Bytes are hexadecimal digits."""
    unmapped: dict[str, Any] = {
        "version": event.version,
        "schema_version": event.schema_version,
        "algorithm": event.algorithm,
        "commitment": event.commitment.hex(),
        "leaf": event.leaf.hex(),
    }
    if event.cause is not None:
        unmapped["cause"] = event.cause
    if event.client is not None:
        unmapped["client_commitment"] = event.client.hex()
    for name in ("forwarded_for", "safety_identifier"):
        if value := facts.get(name):
            unmapped[name] = value
    if event.content is not None:
        unmapped["salt"] = event.content[:SALT_BYTES].hex()
    return unmapped


def _parse_ip(text: str) -> str | None:
    """Returns an address without a scope; None if the text is no address."""
    try:
        return str(ip_address(text.strip().partition("%")[0]))
    except ValueError:
        return None
