"""Which views follow each kind of stream: what an append projects, and what a rebuild makes again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from events.envelope import Recorded
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

VIEWS: Mapping[str, tuple[Project, ...]] = {
    "assistant": (assistants.project,),
    "file": (files.project,),
    "upload": (uploads.project,),
    "key": (keys.project,),
    "project": (projects.project,),
    "vector_store": (vector_stores.project,),
    "webhook_endpoint": (webhooks.project,),
    # Runs first: what they write is shown in their place.
    "thread": (threads.project, runs.project, messages.project, steps.project),
}
