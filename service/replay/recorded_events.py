"""Recorded histories as JSON Lines: an event with its envelope on each line.

The names are those of the audit feed, so that an export with contents (`everthread audit export --content`) is such a
history too. What a check does not need is left out or ignored: the index, the hashes, the salt and the client. A
recording also has `state`: {schema, sha256}, the hash of the state after the event, and `request`: the body of the
request whose hash the event records.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import orjson
from pydantic import ValidationError

from events import codec
from events.actors import actor_text, parse_actor
from events.api_key import KeyEvent
from events.assistant import AssistantEvent
from events.envelope import SCHEMA_VERSION, RecordedEvent
from events.file import FileEvent
from events.installation import InstallationEvent
from events.leaves import content_json
from events.project import ProjectEvent
from events.session import SessionEvent
from events.streams import (
    ASSISTANT,
    FILE,
    INSTALLATION,
    KEY,
    PROJECT,
    SESSION,
    THREAD,
    UPLOAD,
    VECTOR_STORE,
    WEBHOOK_ENDPOINT,
    StreamType,
)
from events.thread.events import ThreadEvent
from events.upload import UploadEvent
from events.vector_store.events import VectorStoreEvent
from events.webhook_endpoint import WebhookEvent
from service.replay.deviations import LoggedEvent

_UNIONS: tuple[tuple[StreamType[Any, Any], Any], ...] = (
    (ASSISTANT, AssistantEvent),
    (FILE, FileEvent),
    (INSTALLATION, InstallationEvent),
    (KEY, KeyEvent),
    (PROJECT, ProjectEvent),
    (SESSION, SessionEvent),
    (THREAD, ThreadEvent),
    (UPLOAD, UploadEvent),
    (VECTOR_STORE, VectorStoreEvent),
    (WEBHOOK_ENDPOINT, WebhookEvent),
)
_STREAM_TYPES: Mapping[type, StreamType[Any, Any]] = {
    event: stream_type for stream_type, union in _UNIONS for event in get_args(union) or (union,)
}
_REQUIRED = ("stream_id", "version", "type", "at", "project_id", "actor", "schema_version", "software_version")


class NotReadable(Exception):
    """An event that today's software cannot load. The facts say which one it is."""

    def __init__(self, stream_id: str, version: int, type: str, at: datetime, reason: str) -> None:
        super().__init__(reason)
        self.stream_id = stream_id
        self.version = version
        self.type = type
        self.at = at


def stream_type_of(event: object) -> StreamType[Any, Any]:
    """Returns the type of the streams that hold the event."""
    return _STREAM_TYPES[type(event)]


def load_row(row: Mapping[str, Any]) -> LoggedEvent:
    """Returns the event of a row with the columns of `events` of sql/queries/replay_check.sql. Raises NotReadable."""
    return LoggedEvent(_load(row, content_json(row["content"])), row["software_version"])


def parse_line(line: bytes) -> LoggedEvent:
    """Returns the event of a line. Raises ValueError if the line is none, and NotReadable."""
    facts = orjson.loads(line)
    missing = [name for name in _REQUIRED if not isinstance(facts, dict) or name not in facts]
    if missing:
        raise ValueError(f"it has no {missing[0]}")
    if "content" not in facts:
        raise ValueError("it has no content: an export needs --content")
    at = datetime.fromisoformat(facts["at"])
    if at.tzinfo is None:
        raise ValueError("its time has no zone")
    facts["at"], facts["client"] = at, None
    recorded = _load(facts, orjson.dumps(facts["content"]))
    state, schema = facts.get("state"), stream_type_of(recorded.event).state_schema
    state_hash = state["sha256"] if state is not None and state["schema"] == schema else None
    return LoggedEvent(recorded, facts["software_version"], state_hash, facts.get("request"))


def render_line(logged: LoggedEvent) -> bytes:
    """Returns the line of an event, with a line feed."""
    recorded = logged.recorded
    facts: dict[str, Any] = {
        "object": "recorded.event",
        "stream_id": recorded.stream_id,
        "version": recorded.version,
        "type": recorded.event.type,
        "at": recorded.at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "project_id": recorded.project_id,
        "actor": actor_text(recorded.actor),
        "request_id": recorded.request_id,
        "cause": recorded.cause,
        "schema_version": SCHEMA_VERSION,
        "software_version": logged.software,
        "content": orjson.loads(codec.dump(recorded.event)),
    }
    if logged.state_hash is not None:
        facts["state"] = {"schema": stream_type_of(recorded.event).state_schema, "sha256": logged.state_hash}
    if logged.request is not None:
        facts["request"] = logged.request
    return orjson.dumps(facts) + b"\n"


def read_file(path: Path) -> Iterator[LoggedEvent | NotReadable]:
    """Yields the events of a file. Raises ValueError with the number of a line that is none, and OSError."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                found: LoggedEvent | NotReadable = parse_line(line)
            except NotReadable as error:
                found = error
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ValueError(f"{path}, line {number}: no recorded event: {error}") from None
            yield found


def _load(facts: Mapping[str, Any], content: bytes) -> RecordedEvent[Any]:
    try:
        event = codec.load(content, facts["schema_version"])
    except (ValueError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise NotReadable(
            stream_id=facts["stream_id"],
            version=facts["version"],
            type=facts["type"],
            at=facts["at"],
            reason=reason,
        ) from None
    return RecordedEvent(
        stream_id=facts["stream_id"],
        version=facts["version"],
        at=facts["at"],
        event=event,
        project_id=facts["project_id"],
        actor=parse_actor(facts["actor"]),
        request_id=facts.get("request_id"),
        cause=facts.get("cause"),
        client=facts["client"],
    )
