"""Between event contents and their stored bytes: the registry of types, and upcasters for shapes that have changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import orjson
from pydantic import Field, TypeAdapter

from events.api_key import KeyEvent
from events.assistant import AssistantEvent
from events.envelope import SCHEMA_VERSION, Event
from events.file import FileEvent
from events.project import ProjectEvent
from events.thread.events import ThreadEvent
from events.upload import UploadEvent
from events.vector_store.events import VectorStoreEvent
from events.webhook_endpoint import WebhookEvent

AnyEvent = (
    AssistantEvent | FileEvent | UploadEvent | KeyEvent | ProjectEvent | ThreadEvent | VectorStoreEvent | WebhookEvent
)
_ANY: TypeAdapter[AnyEvent] = TypeAdapter(Annotated[AnyEvent, Field(discriminator="type")])

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]

# (type, schema version it was written with) → the content one schema version later. Nothing has changed shape yet.
UPCASTERS: dict[tuple[str, int], Upcaster] = {}


def dump(event: Event) -> bytes:
    """The exact bytes to store: compact JSON, UTF-8."""
    return event.model_dump_json().encode()


def load(content: bytes, schema_version: int) -> AnyEvent:
    """The event in those bytes, brought up to today's shape.

    Raises ValueError for a newer schema than this software knows, pydantic.ValidationError for bytes that fit no type.
    """
    if schema_version > SCHEMA_VERSION:
        raise ValueError(f"event schema {schema_version} is newer than this software's {SCHEMA_VERSION}")
    if schema_version == SCHEMA_VERSION:
        return _ANY.validate_json(content)
    shape: dict[str, Any] = orjson.loads(content)
    for version in range(schema_version, SCHEMA_VERSION):
        upcast = UPCASTERS.get((shape["type"], version))
        shape = upcast(shape) if upcast else shape
    return _ANY.validate_python(shape)
