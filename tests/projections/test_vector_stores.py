"""The views of vector stores: after any history they agree with the log, and their counts with the state."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from random import Random
from typing import Any, get_args

import pytest

from events.clock import Clock
from events.errors import DomainError
from events.file import CreateFile
from events.streams import VECTOR_STORE
from events.vector_store import events as e
from events.vector_store.commands import (
    AddFiles,
    CancelBatch,
    ChangeAttributes,
    ChangeModel,
    CreateBatch,
    CreateStore,
    DeleteStore,
    ExpireStore,
    FailIndexing,
    FinishIndexing,
    ModifyStore,
    NewFile,
    ReleaseIndexing,
    RemoveFile,
    StartIndexing,
    UseStore,
    VectorStoreCommand,
)
from events.vector_store.state import VectorStoreState
from projections import vector_store_batches as batches
from projections import vector_store_files as files
from projections import vector_stores as stores
from projections.rebuild import verify
from projections.rows import Cursor
from service.database import Pool
from service.writer import Writer
from service.writer.stream_state import fold
from sql.connection import Connection
from tests.clock import CLOCK
from tests.projections.helpers import ORIGIN, writer

HISTORIES = 12
COMMANDS = 60
FILES = [f"file-{n}" for n in range(6)]
BATCHES = ["vsfb_1", "vsfb_2"]
CREATE = CreateStore("n", None, {"k": "v"}, 1, "minilm")
AUTO = e.Chunking(max_chunk_size_tokens=800, chunk_overlap_tokens=400)
ERROR = e.IndexingError(code="invalid_file", message="m")
STATUSES = ("in_progress", "completed", "failed", "cancelled")
ONCE = ("create", "modify", "use", "delete", "expire", "model", "cancel", "remove", "attributes", "fail", "release")
KINDS = (*ONCE, *("add", "batch") * 2, *("start",) * 6, *("finish",) * 5)
TYPES = {kind.model_fields["type"].default for kind in get_args(e.VectorStoreEvent)}
ALL = Cursor(limit=1000)


async def make_files(write: Writer) -> None:
    for id in FILES:
        await write.file(ORIGIN, id, CreateFile(f"{id}.txt", "assistants", 7, "ab", "text/plain", None, id))


def some_files(random: Random) -> list[NewFile]:
    chosen = random.sample(FILES, random.randint(1, 4))
    return [NewFile(id, f"{id}.txt", 7, {"n": random.randint(1, 2)}, AUTO) for id in chosen]


def random_command(random: Random, store: str) -> Any:
    """A command that is made of facts, as handlers and supervisors make it."""
    id, batch = random.choice(FILES), random.choice(BATCHES)
    kind = random.choice(KINDS)
    # Drawn here, since a command that is refused on a cached head is made again.
    changes = {"name": random.choice(["a", None]), "expires_after": random.choice([None, 3])}
    new, batch_id, deletes = some_files(random), f"vsfb_{random.getrandbits(32)}", random.random() < 0.2

    async def ask(db: Connection) -> VectorStoreCommand:
        fact = await files.fact(db, store, id)
        job = fact.job if fact else None
        match kind:
            case "create":
                return CREATE
            case "modify":
                return ModifyStore(changes)
            case "use":
                return UseStore()
            case "expire":
                return ExpireStore()
            case "model":
                return ChangeModel("other")
            case "delete":
                return DeleteStore() if deletes else CREATE
            case "add":
                return AddFiles(new, await files.facts(db, store, [one.file_id for one in new]), 10)
            case "batch":
                there = await files.facts(db, store, [one.file_id for one in new])
                return CreateBatch(batch_id, new, there, 10)
            case "cancel":
                return CancelBatch(batch, await batches.fact(db, "proj_1", store, batch))
            case "remove":
                return RemoveFile(id, fact)
            case "attributes":
                return ChangeAttributes(id, fact, {"x": 1.5})
            case "start":
                return StartIndexing(id, fact, 7, job, 60)
            case "release":
                return ReleaseIndexing(id, fact, job or 0)
            case "finish":
                return FinishIndexing(id, fact, job or 0, 100, 2)
            case _:
                return FailIndexing(id, fact, job, ERROR)

    return ask


class ErraticClock(Clock):
    """A clock that advances by itself: by minutes, and sometimes by a day."""

    def __init__(self, random: Random) -> None:
        self.at = CLOCK.now()
        self._random = random

    def now(self) -> datetime:
        self.at += timedelta(minutes=self._random.choice([0, 1, 2, *([1500] * (self._random.random() < 0.03))]))
        return self.at


@pytest.mark.slow
async def test_random_histories_are_served_as_rebuilt(pool: Pool) -> None:
    clock, seen = ErraticClock(Random(1)), set[str]()
    write = writer(pool, clock)
    await make_files(write)
    for seed in range(HISTORIES):
        random, store = Random(seed), f"vs_{seed}"
        made: list[str] = []
        await write.vector_store(ORIGIN, store, CREATE)
        for _ in range(COMMANDS):
            try:
                written = await write.vector_store(ORIGIN, store, random_command(random, store))
            except DomainError:
                continue
            seen |= {entry.event.type for entry in written.recorded}
            made += [entry.event.batch_id for entry in written.recorded if isinstance(entry.event, e.BatchCreated)]
            BATCHES[:] = made[-2:] or BATCHES
        async with pool.acquire() as db:
            assert await verify(db, store) == []
            state = await fold(db, VECTOR_STORE, store)
            if state.exists:
                await _views_agree(db, store, state, made, clock.at)
    assert seen == TYPES, "every kind of event came up"


async def _views_agree(db: Connection, id: str, state: VectorStoreState, made: list[str], at: datetime) -> None:
    shown = await stores.get(db, "proj_1", id, at)
    counts = state.counts
    assert (shown.in_progress, shown.completed, shown.failed, shown.cancelled, shown.usage_bytes) == (
        counts.in_progress,
        counts.completed,
        counts.failed,
        counts.cancelled,
        counts.usage_bytes,
    )
    assert (shown.expires_after, shown.last_active_at) == (state.expires_after, state.last_active_at)
    listed = (await files.page(db, "proj_1", id, ALL, at)).items
    found = Counter(file.status for file in listed)
    assert found == +Counter(
        {name: getattr(counts, name) for name in ("in_progress", "completed", "failed", "cancelled")}
    )
    assert sum(file.usage_bytes for file in listed) == counts.usage_bytes
    for batch_id in made:
        batch = await batches.fact(db, "proj_1", id, batch_id)
        if batch is not None:
            left = await files.page(db, "proj_1", id, ALL, at, status="in_progress", batch_id=batch_id)
            assert batch.in_progress == len(left.items)
