"""The statements of appends: one for each mix of operations that is frequent, and a general one for the rest.

A mix is a list of blocks (`sql.row_operations`); the first one moves the head. An append takes the first mix that has
all its blocks, so frequent mixes come before those that contain them. Blocks that it does not need get no parameters
and do nothing. The texts are few, because every connection prepares and keeps each one that it uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from events.streams import ASSISTANT, INSTALLATION, THREAD, StreamType
from projections.generations import generations_of

Mix = tuple[str, ...]

_ALWAYS = ("events.insert", "log_pending.insert")
_DELIVERIES = "webhook_deliveries.insert"
_EFFECT = "idempotency_effects.insert"


def _open(*blocks: str) -> Mix:
    return ("streams.open", *_ALWAYS, *blocks)


def _move(*blocks: str) -> Mix:
    return ("streams.move", *_ALWAYS, *blocks)


MIXES: Mapping[StreamType[Any, Any], tuple[Mix, ...]] = {
    THREAD: (
        _open("threads.insert"),
        _open("threads.insert", "messages.insert"),
        _open(
            _DELIVERIES,
            "threads.insert",
            "thread_attachments.insert",
            "metadata_pairs.insert",
            "messages.insert",
            "runs.insert",
            "active_runs.insert",
            "steps.insert_many",
            _EFFECT,
        ),
        _move(),
        _move("messages.insert"),
        _move("runs.patch"),
        _move("steps.insert"),
        _move("steps.patch"),
        _move("messages.modify"),
        _move("messages.delete"),
        _move("runs.modify"),
        _move("threads.modify"),
        _move(_DELIVERIES, "runs.insert", "active_runs.insert"),
        _move(_DELIVERIES, "runs.patch", "active_runs.change", "active_runs.delete"),
        _move(_DELIVERIES, "runs.patch", "active_runs.change", "steps.insert"),
        _move(_DELIVERIES, "runs.patch", "active_runs.change", "steps.patch"),
        _move(_DELIVERIES, "messages.insert", "runs.insert", "active_runs.insert"),
        _move(_DELIVERIES, "messages.insert", "runs.patch", "active_runs.delete", "steps.insert"),
        _move("messages.insert", "steps.insert_many"),
        _move("threads.add_own_store", "thread_attachments.insert", "messages.insert"),
        _move(
            _DELIVERIES,
            "threads.delete",
            "thread_attachments.delete_all",
            "metadata_pairs.delete",
            "messages.delete_all",
            "runs.delete_all",
            "active_runs.delete_all",
            "steps.delete_all",
            _EFFECT,
        ),
        _move(
            _DELIVERIES,
            "threads.modify",
            "threads.add_own_store",
            "thread_attachments.insert",
            "thread_attachments.delete_all",
            "metadata_pairs.remove",
            "metadata_pairs.replace_thread",
            "messages.insert",
            "messages.modify",
            "messages.delete",
            "runs.insert",
            "runs.patch_many",
            "runs.modify",
            "active_runs.insert",
            "active_runs.change",
            "active_runs.delete",
            "steps.insert_many",
            "steps.patch_many",
            _EFFECT,
        ),
    ),
    ASSISTANT: (
        _open("assistants.insert"),
        _open("assistants.insert", "metadata_pairs.insert", _EFFECT),
        _move("assistants.insert", "metadata_pairs.insert", _EFFECT),
        _move("assistants.modify"),
        _move("assistants.modify", "metadata_pairs.remove", "metadata_pairs.replace_assistant", _EFFECT),
        _move("assistants.delete", "metadata_pairs.delete", _EFFECT),
    ),
    INSTALLATION: (_move(_EFFECT),),
}


@cache
def statement_mixes(stream_type: StreamType[Any, Any]) -> tuple[Mix, ...]:
    """Returns the mixes of a stream type, each with the blocks of the generations beside its own."""
    newer = [generation.beside for generation in generations_of(stream_type)]
    return tuple(
        (*mix, *(block for beside in newer for older in mix for block in beside.get(older, ())))
        for mix in MIXES[stream_type]
    )


@cache
def find_mix(stream_type: StreamType[Any, Any], blocks: tuple[str, ...]) -> Mix | None:
    """Returns the first mix of a stream type that has all these blocks, or `…_many` instead of a block.

    Returns None if there is none: such an append is a transaction.
    """
    for mix in statement_mixes(stream_type):
        if all(block in mix or f"{block}_many" in mix for block in blocks):
            return mix
    return None
