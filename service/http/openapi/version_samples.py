"""Samples of the versions of an assistant."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from events.actors import KeyActor
from events.assistant import AssistantCreated, AssistantDeleted, AssistantModified
from events.envelope import RecordedEvent
from events.objects import Json
from service.wire.assistant_versions import render_version, render_versions_page


def version_samples() -> list[Json]:
    """Returns pages with an entry for each type of event."""
    events = [
        AssistantCreated(settings={}),
        AssistantModified(changes={"name": "n"}),
        AssistantModified(changes={"name": "n"}, restored_from=1),
        AssistantDeleted(),
    ]
    entries = [render_version("asst_1", _record(event, id)) for event in events for id in ("req_1", None)]
    return [render_versions_page(entries, more=True), render_versions_page([], more=False)]


def _record(event: Any, request_id: str | None) -> RecordedEvent[Any]:
    return RecordedEvent(
        stream_id="asst_1",
        version=1,
        at=datetime.fromtimestamp(1, UTC),
        event=event,
        project_id="proj_1",
        actor=KeyActor("key_1"),
        request_id=request_id,
        cause=None,
        client=None,
    )
