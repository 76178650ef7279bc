"""Which views follow each kind of stream: what an append projects, and what a rebuild makes again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from events.envelope import Recorded
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

Project = Callable[[Connection, Sequence[Recorded[Any]]], Awaitable[None]]

VIEWS: Mapping[StreamType[Any, Any], tuple[Project, ...]] = {
    ASSISTANT: (assistants.project,),
    FILE: (files.project,),
    UPLOAD: (uploads.project,),
    KEY: (keys.project,),
    PROJECT: (projects.project,),
    VECTOR_STORE: (vector_stores.project,),
    WEBHOOK_ENDPOINT: (webhooks.project,),
    # Runs first: what they write is shown in their place.
    THREAD: (threads.project, runs.project, messages.project, steps.project),
}
