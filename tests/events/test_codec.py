"""Events and their bytes. The golden file holds every type of event ever written, in every shape.

Add lines to it if events are added or changed. Never change or remove a line.
"""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import orjson
import pytest
from pydantic import ValidationError

from events import codec
from events.api_key import KeyEvent
from events.assistant import AssistantEvent
from events.envelope import SCHEMA_VERSION
from events.file import FileEvent
from events.installation import InstallationEvent
from events.project import ProjectEvent
from events.thread.events import ThreadEvent
from events.upload import UploadEvent
from events.vector_store.events import VectorStoreEvent
from events.webhook_endpoint import WebhookEvent

GOLDEN = {1: (Path(__file__).parent / "golden" / "v1.jsonl").read_bytes().splitlines()}
THREAD_TYPES = sorted(kind.model_fields["type"].default for kind in get_args(ThreadEvent))
SMALL = (
    AssistantEvent
    | FileEvent
    | UploadEvent
    | KeyEvent
    | ProjectEvent
    | VectorStoreEvent
    | WebhookEvent
    | InstallationEvent
)
SMALL_TYPES = sorted(kind.model_fields["type"].default for kind in get_args(SMALL))


def test_there_is_a_golden_file_for_every_schema_version() -> None:
    assert set(GOLDEN) == set(range(1, SCHEMA_VERSION + 1))


def test_every_type_is_in_the_golden_file() -> None:
    found = {orjson.loads(line)["type"] for lines in GOLDEN.values() for line in lines}
    assert found >= {*THREAD_TYPES, *SMALL_TYPES}


@pytest.mark.parametrize("version", GOLDEN)
def test_every_event_ever_written_loads(version: int) -> None:
    for line in GOLDEN[version]:
        event = codec.load(line, version)
        assert event.type == orjson.loads(line)["type"]
        if version == SCHEMA_VERSION:
            # Byte for byte: an event is written today as it was written then.
            assert codec.dump(event) == line


def test_upcasters_bring_old_shapes_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "SCHEMA_VERSION", 3)
    monkeypatch.setitem(codec.UPCASTERS, ("run.queued", 1), lambda shape: {"type": "run.queued", "run": shape["id"]})
    monkeypatch.setitem(
        codec.UPCASTERS, ("run.queued", 2), lambda shape: {"type": "run.queued", "run_id": shape["run"]}
    )
    event = codec.load(b'{"type":"run.queued","id":"run_1"}', 1)
    assert codec.dump(event) == b'{"type":"run.queued","run_id":"run_1"}'


def test_newer_schemas_and_foreign_bytes_are_refused() -> None:
    with pytest.raises(ValueError, match="newer"):
        codec.load(b'{"type":"thread.deleted"}', SCHEMA_VERSION + 1)
    for content in (b'{"type":"thread.exploded"}', b'{"type":"thread.deleted","x":1}', b"{}"):
        with pytest.raises(ValidationError):
            codec.load(content, SCHEMA_VERSION)
