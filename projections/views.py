"""The views of each stream type. An append and a rebuild carry out the same operations on their rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from events.envelope import RecordedEvent
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
    S,
    StreamType,
)
from projections import (
    active_runs,
    assistants,
    files,
    generations,
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
from projections.generations import Project
from sql.row_operations import RowOperation

VIEWS: Mapping[StreamType[Any, Any], tuple[Project, ...]] = {
    ASSISTANT: (assistants.project,),
    FILE: (files.project,),
    UPLOAD: (uploads.project,),
    KEY: (keys.project,),
    PROJECT: (projects.project,),
    VECTOR_STORE: (vector_stores.project,),
    WEBHOOK_ENDPOINT: (webhooks.project,),
    INSTALLATION: (),
    SESSION: (),
    THREAD: (threads.project, messages.project, runs.project, active_runs.project, steps.project),
}

# The tables of the views, by stream type. The first column of each table's primary key is the stream's id.
TABLES: Mapping[StreamType[Any, Any], tuple[str, ...]] = {
    ASSISTANT: ("assistants", "metadata_pairs"),
    FILE: ("files",),
    UPLOAD: ("uploads", "upload_parts"),
    KEY: ("api_keys",),
    PROJECT: ("projects",),
    VECTOR_STORE: ("vector_stores", "vector_store_files", "vector_store_batches"),
    WEBHOOK_ENDPOINT: ("webhook_endpoints",),
    INSTALLATION: (),
    SESSION: (),
    THREAD: ("threads", "thread_attachments", "messages", "runs", "active_runs", "steps", "metadata_pairs"),
}


def row_operations(
    stream_type: StreamType[S, Any], batch: Sequence[RecordedEvent[Any]], before: S
) -> list[RowOperation]:
    """Returns the operations on the rows of all views that the events of a stream lead to.

    `before` is the state of the stream before the first event. Views of which a newer shape stands beside the older one
    have the operations of both.
    """
    operations = [operation for project in VIEWS[stream_type] for operation in project(batch, before)]
    for generation in generations.GENERATIONS:
        if generation.stream_type is stream_type:
            operations += generation.project(batch, before)
    return operations


def tables_of(stream_type: StreamType[Any, Any]) -> list[str]:
    """Returns the tables of the stream type's views, those of newer shapes among them."""
    newer = (table for generation in generations.generations_of(stream_type) for table in generation.tables)
    return [*TABLES[stream_type], *newer]
