"""The views of each stream type: those that an append projects, and a rebuild makes again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from events.envelope import RecordedEvent
from events.streams import (
    ASSISTANT,
    FILE,
    KEY,
    PROJECT,
    THREAD,
    UPLOAD,
    VECTOR_STORE,
    WEBHOOK_ENDPOINT,
    StreamType,
)
from projections import (
    assistants,
    files,
    keys,
    messages,
    projects,
    runs,
    steps,
    threads,
    uploads,
    vector_stores,
    webhooks,
)
from sql.connection import Connection

Apply = Callable[[Connection, Sequence[RecordedEvent[Any]]], Awaitable[None]]

VIEWS: Mapping[StreamType[Any, Any], tuple[Apply, ...]] = {
    ASSISTANT: (assistants.apply,),
    FILE: (files.apply,),
    UPLOAD: (uploads.apply,),
    KEY: (keys.apply,),
    PROJECT: (projects.apply,),
    VECTOR_STORE: (vector_stores.apply,),
    WEBHOOK_ENDPOINT: (webhooks.apply,),
    # Runs come first, since their messages have the position of the run.
    THREAD: (threads.apply, runs.apply, messages.apply, steps.apply),
}
