"""A second generation of the view of messages, with one more column, as a release could have one."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Sequence
from typing import Any

import pytest

import sql.row_operations
from events import event_log
from events.streams import THREAD
from projections import generations, messages, mixes, row_store
from projections.generations import Generation
from projections.row_store.tables import PRIMARY_KEYS, Tables
from sql import queries
from sql.row_operations import RowOperation

TABLE = "messages_2"
EPOCH = 1
# The migration that a release would have, behind the function that every migration can use.
MIGRATION = f"""
{queries("migrations")["create_raise_view_epoch"]}
CREATE TABLE {TABLE} (LIKE messages INCLUDING ALL);
ALTER TABLE {TABLE} ADD COLUMN length integer NOT NULL DEFAULT 0;
INSERT INTO view_generations (view, generation, epoch, state) VALUES ('messages', 2, {EPOCH}, 'building');
SELECT pg_temp.raise_view_epoch({EPOCH});
"""
_NAMES = {"insert": "insert", "modify": "modify_any", "delete": "delete_any", "delete_all": "delete_all"}
# A phase at which a server process kills itself.
KILL_AT = "EVERTHREAD_TEST_KILL_AT"


def _rename(text: str) -> str:
    return re.sub(r"\bmessages\b", TABLE, text)


def _block_texts() -> dict[str, str]:
    texts = {_NAMES[name]: _rename(text) for name, text in sql.blocks("messages").items()}
    insert = texts["insert"].replace("place, body)\nSELECT", "place, body, length)\nSELECT", 1)
    return texts | {"insert": insert.replace("place, body\nFROM", "place, body, octet_length(body)\nFROM", 1)}


def _project(batch: Sequence[Any], before: Any) -> list[RowOperation]:
    return [
        RowOperation(f"{TABLE}.{_NAMES[operation.block.partition('.')[2]]}", operation.values)
        for operation in messages.project(batch, before)
    ]


def _insert(tables: Tables, *values: Any) -> None:
    staged = Tables()
    row_store.TWINS["messages.insert"](staged, *values)
    for row in staged.rows("messages"):
        tables.insert(TABLE, row | {"length": len(row["body"])})


def _modify(tables: Tables, thread_id: str, message_id: str, metadata: bytes) -> None:
    tables.find(TABLE, thread_id, message_id)["patches"] = [metadata]


def _delete(tables: Tables, thread_id: str, message_id: str) -> None:
    tables.find(TABLE, thread_id, message_id).update(deleted=True, body=b"{}", patches=[])


def _delete_all(tables: Tables, thread_id: str) -> None:
    tables.clear(TABLE)


_TWINS = {"insert": _insert, "modify_any": _modify, "delete_any": _delete, "delete_all": _delete_all}

GENERATION = Generation(
    view="messages",
    number=2,
    stream_type=THREAD,
    project=_project,
    tables=(TABLE,),
    beside={f"messages.{older}": (f"{TABLE}.{newer}",) for older, newer in _NAMES.items()},
)


class _Queries(dict[str, str]):
    """The queries of messages, over the newer table if it is live."""

    def __getitem__(self, name: str) -> str:
        text = super().__getitem__(name)
        return _rename(text) if generations.is_live("messages", 2) else text


def install(patch: pytest.MonkeyPatch) -> None:
    """Makes this software one that has the generation."""
    blocks, texts = sql.blocks, _block_texts()
    patch.setattr(sql.row_operations, "blocks", lambda table: texts if table == TABLE else blocks(table))
    patch.setitem(PRIMARY_KEYS, TABLE, ("thread_id", "message_id"))
    for name, twin in _TWINS.items():
        patch.setitem(row_store.TWINS, f"{TABLE}.{name}", twin)
    for name in ("rows", "delete"):
        patch.setitem(queries("rebuild"), f"{name}_{TABLE}", _rename(queries("rebuild")[f"{name}_messages"]))
    patch.setattr(messages, "_SQL", _Queries(messages._SQL))
    patch.setattr(generations, "GENERATIONS", (GENERATION,))
    patch.setattr(event_log, "VIEW_EPOCH", EPOCH)
    clear_caches()


def clear_caches() -> None:
    mixes.find_mix.cache_clear()
    mixes.statement_mixes.cache_clear()


def prepare_server() -> None:
    """Makes this process one of a release with the generation, which fills it in small batches."""
    from service.replay import generation_fill, view_rebuild

    install(pytest.MonkeyPatch())
    view_rebuild.BATCH_STREAMS = 2
    view_rebuild.NOTE_EVERY_S = 0.0
    generation_fill.SCAN_EVERY_S = 0.2
    generation_fill.MAX_LOAD = 1.0
    generation_fill.HAS_OWN_PROCESS = False
    if phase := os.environ.get(KILL_AT):
        _install_kills(phase)


def _install_kills(phase: str) -> None:
    """Makes the server process kill itself at a phase: `batch 1`, `batch 3`, `before live` or `after live`."""
    from service.replay import generation_fill

    make_live, count = generations.make_live, 0

    def end() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def on_batch(*_: Any) -> None:
        nonlocal count
        count += 1
        if phase == f"batch {count}":
            end()

    async def make_live_and_end(*given: Any) -> bool:
        if phase == "before live":
            end()
        result = await make_live(*given)
        end()
        return result

    if phase.startswith("batch"):
        generation_fill._ignore = on_batch  # type: ignore[assignment]
    else:
        generations.make_live = make_live_and_end  # type: ignore[assignment]
