"""The decider of vector stores."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from pydantic import TypeAdapter

from events.errors import NotFound, Rejection, StaleJob, StoreFileNotFound
from events.event_log import number_events
from events.ids import hex_id_of
from events.vector_store import events as e
from events.vector_store.commands import (
    AddFiles,
    BatchFact,
    CancelBatch,
    ChangeAttributes,
    ChangeModel,
    CreateBatch,
    CreateStore,
    DeleteStore,
    ExpireStore,
    FailIndexing,
    FileFact,
    FinishIndexing,
    ModifyStore,
    NewFile,
    ReleaseIndexing,
    RemoveFile,
    StartIndexing,
    UseStore,
)
from events.vector_store.decide import FILES_PER_EVENT, MAX_ATTEMPTS, decide, is_expired
from events.vector_store.state import DAY, USE_EVERY, FileCounts, VectorStoreState, evolve
from tests.clock import IDS
from tests.events.thread.story import ORIGIN, SECONDS, T0, types_of

ID = "vs_1"
AUTO = e.Chunking(max_chunk_size_tokens=800, chunk_overlap_tokens=400)
CREATE = CreateStore("n", None, {}, None, "minilm")
SHORT = replace(CREATE, expires_after=1)
LIMIT = 10_000
OOPS = e.IndexingError(code="invalid_file", message="m")


def new_file(id: str = "file-1", **attributes: Any) -> NewFile:
    return NewFile(id, f"{id}.txt", 7, attributes, AUTO)


def fact(status: e.FileStatus = "in_progress", *, job: int | None = None, attempt: int = 0, usage: int = 0) -> FileFact:
    return FileFact(status, usage, job, None if job is None else 7, attempt, AUTO, {})


def add(*ids: str, **there: FileFact) -> AddFiles:
    known = {name.replace("_", "-"): one for name, one in there.items()}
    return AddFiles([new_file(id) for id in ids], known, LIMIT)


def start(fact: FileFact | None, after: int | None = None, process: int = 7) -> StartIndexing:
    return StartIndexing("file-1", fact, process, after, lifetime=60)


def a_store(*commands: Any, at: datetime = T0) -> VectorStoreState:
    state, version = VectorStoreState(ID), 0
    for command in commands:
        for entry in number_events(ID, version, decide(state, command, at), at, ORIGIN):
            state, version = evolve(state, entry), entry.version
    return state


def test_a_store_with_files_is_one_append() -> None:
    files = [new_file(f"file-{n}") for n in range(FILES_PER_EVENT + 1)]
    events = decide(a_store(), replace(CREATE, files=files), T0)
    assert types_of(events) == ["vector_store.created", "vector_store.files_added", "vector_store.files_added"]
    state = a_store(replace(CREATE, files=files))
    assert state.counts == FileCounts(in_progress=FILES_PER_EVENT + 1)
    assert len(TypeAdapter(VectorStoreState).dump_json(state)) < 300, "the state does not grow with the files"


def test_making_it_twice() -> None:
    with pytest.raises(Rejection, match="already exists"):
        decide(a_store(CREATE), CREATE, T0)
    assert decide(a_store(CREATE), replace(CREATE, if_missing=True), T0) == []
    assert types_of(decide(a_store(CREATE, DeleteStore()), CREATE, T0)) == ["vector_store.created"]


def test_what_is_not_there_is_not_found() -> None:
    for command in (ModifyStore({"name": "x"}), DeleteStore(), ChangeModel("m"), add("file-1")):
        with pytest.raises(NotFound, match="No vector store found with id 'vs_1'"):
            decide(a_store(CREATE, DeleteStore()), command, T0)
    assert decide(a_store(), UseStore(), T0) == []
    with pytest.raises(StoreFileNotFound):
        decide(a_store(CREATE), RemoveFile("file-1", None), T0)
    with pytest.raises(StoreFileNotFound):
        decide(a_store(CREATE), ChangeAttributes("file-1", None, {}), T0)
    with pytest.raises(NotFound, match="No vector store file batch found with id 'vsfb_1'"):
        decide(a_store(CREATE), CancelBatch("vsfb_1", None), T0)


def test_the_life_of_a_file() -> None:
    state = a_store(CREATE, add("file-1"), start(fact()))
    assert (state.jobs, state.counts) == (1, FileCounts(in_progress=1))
    at_work = fact(job=1, attempt=1)
    done = FinishIndexing("file-1", at_work, 1, usage_bytes=1045, chunks=1)
    assert a_store(CREATE, add("file-1"), start(fact()), done).counts == FileCounts(completed=1, usage_bytes=1045)
    failed = FailIndexing("file-1", at_work, 1, OOPS)
    assert a_store(CREATE, add("file-1"), start(fact()), failed).counts == FileCounts(failed=1)
    removed = RemoveFile("file-1", fact("completed", job=1, usage=1045))
    assert a_store(CREATE, add("file-1"), start(fact()), done, removed).counts == FileCounts()


def test_an_attempt_is_known_by_its_job() -> None:
    state = a_store(CREATE, add("file-1"), start(fact()))
    [started] = decide(state, start(fact(job=1, attempt=1), after=1), T0)
    assert isinstance(started, e.IndexingStarted)
    assert (started.job, started.attempt, started.deadline) == (2, 2, SECONDS + 60)
    for stale in (
        start(fact(job=1, attempt=1)),
        start(None),
        start(fact("cancelled")),
        FinishIndexing("file-1", fact(job=2, attempt=2), 1, 1, 1),
        FailIndexing("file-1", fact(), 1, OOPS),
        ReleaseIndexing("file-1", fact(job=2, attempt=2), 1),
        FinishIndexing("file-1", fact("failed", job=1), 1, 1, 1),
    ):
        with pytest.raises(StaleJob):
            decide(state, stale, T0)


def test_jobs_of_a_store_go_on_under_its_id() -> None:
    """A process that still indexes for the deleted store must not write into the new store of the same id."""
    state = a_store(CREATE, add("file-1"), start(fact()), DeleteStore(), CREATE, add("file-1"), start(fact()))
    assert state.jobs == 2


def test_attempts_end() -> None:
    state = a_store(CREATE, add("file-1"))
    [failed] = decide(state, start(fact(job=3, attempt=MAX_ATTEMPTS), after=3), T0)
    assert isinstance(failed, e.IndexingFailed)
    assert failed.error.code == "server_error"


def test_adding_a_file_again() -> None:
    state = a_store(CREATE, add("file-1"))
    assert decide(state, add("file-1", file_1=fact(job=1, attempt=1)), T0) == [], "it is being indexed as asked"
    assert decide(state, add("file-1", file_1=fact("completed", job=1)), T0) == []
    [added] = decide(state, add("file-1", file_1=fact("failed")), T0)
    assert isinstance(added, e.FilesAdded)
    assert added.files[0].replaced == e.ReplacedFile(status="failed", usage_bytes=0)
    other = AddFiles([new_file(author="x")], {"file-1": fact("completed", usage=9)}, LIMIT)
    again = a_store(CREATE, add("file-1"), start(fact()), FinishIndexing("file-1", fact(job=1), 1, 9, 1), other)
    assert again.counts == FileCounts(in_progress=1)


def test_a_store_has_so_many_files() -> None:
    state = a_store(CREATE, replace(add("file-1", "file-2"), limit=2))
    with pytest.raises(Rejection, match="at most 2 files"):
        decide(state, replace(add("file-3"), limit=2), T0)
    again = AddFiles([new_file("file-1", a=1)], {"file-1": fact()}, 2)
    assert types_of(decide(state, again, T0)) == ["vector_store.files_added"], "one that is there takes no room"


def test_batches() -> None:
    batch = CreateBatch("vsfb_1", [new_file("file-1"), new_file("file-2")], {}, LIMIT)
    assert types_of(decide(a_store(CREATE), batch, T0)) == ["vector_store.batch_created", "vector_store.files_added"]
    state = a_store(CREATE, batch, CancelBatch("vsfb_1", BatchFact(2, cancelled=False)))
    assert state.counts == FileCounts(cancelled=2)
    assert decide(state, CancelBatch("vsfb_1", BatchFact(0, cancelled=True)), T0) == []


def used_at(state: VectorStoreState, at: datetime) -> VectorStoreState:
    [used] = decide(state, UseStore(), at)
    return evolve(state, number_events(ID, 1, [used], at, ORIGIN)[0])


def test_use_moves_the_end() -> None:
    """The first use is always recorded, since the creation is not a use. Uses within a minute share one record."""
    state = a_store(SHORT)
    assert state.expires_at == SECONDS + DAY
    assert decide(state, UseStore(), T0) == []
    first = T0 + timedelta(seconds=2)
    state = used_at(state, first)
    assert state.expires_at == SECONDS + 2 + DAY
    assert decide(state, UseStore(), first + timedelta(seconds=USE_EVERY - 1)) == []
    later = first + timedelta(seconds=USE_EVERY)
    assert used_at(state, later).expires_at == SECONDS + 2 + USE_EVERY + DAY
    assert types_of(decide(state, add("file-1"), later)) == ["vector_store.files_added", "vector_store.used"]


def test_expiry() -> None:
    end = T0 + timedelta(days=1)
    state = a_store(SHORT, add("file-1"))
    assert not is_expired(state, end - timedelta(seconds=1))
    assert is_expired(state, end), "noticed or not"
    assert decide(state, ExpireStore(), end - timedelta(seconds=1)) == []
    for refused in (add("file-2"), ModifyStore({"expires_after": None}), CreateBatch("b", [new_file()], {}, LIMIT)):
        with pytest.raises(Rejection, match="is expired"):
            decide(state, refused, end)
    assert decide(state, UseStore(), end) == []
    [event] = decide(state, ExpireStore(), end)
    over = evolve(state, number_events(ID, 2, [event], end, ORIGIN)[0])
    assert over.counts == FileCounts(cancelled=1)
    assert decide(over, ExpireStore(), end) == []
    assert types_of(decide(over, ModifyStore({"name": "x"}), end)) == ["vector_store.modified"]
    with pytest.raises(StaleJob):
        decide(over, start(fact()), end)


def test_null_clears_the_end() -> None:
    assert a_store(SHORT, ModifyStore({"expires_after": None})).expires_at is None
    assert a_store(CREATE, ModifyStore({"expires_after": 3})).expires_at == SECONDS + 3 * DAY
    assert decide(a_store(CREATE), ModifyStore({}), T0) == []


def test_ids() -> None:
    assert hex_id_of("vs", "thread_1") == hex_id_of("vs", "thread_1") != hex_id_of("vs", "thread_2")
    assert len(hex_id_of("vs", "x")) == len(IDS.new_hex("vs"))
