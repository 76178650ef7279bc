"""Appends on cached heads: they read no head, and a stale head is never believed without an append."""

from __future__ import annotations

from dataclasses import replace

import pytest

from events import event_log
from events.errors import NotFound, Rejection
from events.event_log import NO_STREAM, Head
from events.streams import THREAD
from events.thread.commands import DeleteThread, ModifyThread
from projections import rebuild
from projections.rebuild import verify
from service.database import Pool
from service.writer.head_cache import HeadCache
from sql.connection import Connection
from tests.events.thread.story import add, cancel, run
from tests.projections.helpers import ORIGIN, OTHER, make_thread, writer


@pytest.fixture
def head_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the streams whose heads were read."""
    reads: list[str] = []
    read = event_log.head

    async def counted(db: Connection, stream_id: str, stream_type: object) -> Head:
        reads.append(stream_id)
        return await read(db, stream_id, stream_type)  # type: ignore[arg-type]

    monkeypatch.setattr(event_log, "head", counted)
    return reads


async def test_the_next_append_reads_no_head(pool: Pool, head_reads: list[str]) -> None:
    write = writer(pool)
    await make_thread(write, "thread_1", "one", "two")
    assert head_reads == ["thread_1"], "only the creation looks if the stream exists"


async def test_a_stale_head_conflicts_and_is_loaded(pool: Pool, db: Connection, head_reads: list[str]) -> None:
    write, other = writer(pool), writer(pool)
    await make_thread(write)
    await other.thread(ORIGIN, "thread_1", add("other", "msg_1"))
    head_reads.clear()
    await write.thread(ORIGIN, "thread_1", add("ours", "msg_2"))
    assert head_reads == ["thread_1"]
    assert await verify(db, "thread_1") == []


async def test_a_refusal_on_a_stale_head_is_decided_again(pool: Pool) -> None:
    """A process must not answer "already has an active run" after another process ended the run."""
    write, other = writer(pool), writer(pool)
    await make_thread(write, "thread_1", "one")
    await write.thread(ORIGIN, "thread_1", run())
    with pytest.raises(Rejection):
        await write.thread(ORIGIN, "thread_1", run(run_id="run_2"))
    await other.thread(ORIGIN, "thread_1", cancel())
    await write.thread(ORIGIN, "thread_1", run(run_id="run_2"))


async def test_an_empty_decision_on_a_stale_head_is_decided_again(pool: Pool) -> None:
    write, other = writer(pool), writer(pool)
    await make_thread(write)
    await other.thread(ORIGIN, "thread_1", DeleteThread())
    with pytest.raises(NotFound):
        await write.thread(ORIGIN, "thread_1", ModifyThread({}))


async def test_a_cached_head_is_of_its_project_alone(pool: Pool) -> None:
    write = writer(pool)
    await make_thread(write)
    with pytest.raises(NotFound):
        await write.thread(OTHER, "thread_1", add())
    await write.thread(ORIGIN, "thread_1", add())


async def test_a_rebuild_makes_cached_heads_stale(pool: Pool, db: Connection, head_reads: list[str]) -> None:
    write = writer(pool)
    await make_thread(write)
    await db.execute("DELETE FROM threads")
    await rebuild.rebuild(db, ["thread_1"])
    head_reads.clear()
    await write.thread(ORIGIN, "thread_1", add())
    assert head_reads == ["thread_1"]
    assert await verify(db, "thread_1") == []


async def test_an_append_of_unknown_outcome_drops_the_head(
    pool: Pool, head_reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = writer(pool)
    await make_thread(write)
    append = write._append

    async def lost(*args: object) -> Head:
        await append(*args)  # type: ignore[arg-type]
        raise TimeoutError

    with monkeypatch.context() as patch:
        patch.setattr(write, "_append", lost)
        with pytest.raises(TimeoutError):
            await write.thread(ORIGIN, "thread_1", add("one", "msg_1"))
    head_reads.clear()
    await write.thread(ORIGIN, "thread_1", add("two", "msg_2"))
    assert head_reads == ["thread_1"]


def test_the_cache_is_bounded_in_bytes() -> None:
    cache = HeadCache(max_bytes=30_000)
    head = replace(NO_STREAM, version=1, state=b"x" * 100, project_id="proj_1")
    for number in range(100):
        cache.put(THREAD, f"thread_{number}", head, THREAD.initial("thread"))
    assert cache.bytes <= 30_000 < cache.bytes + 3_000
    assert cache.take(THREAD, "thread_0", "proj_1") is None
    known = cache.take(THREAD, "thread_99", "proj_1")
    assert known is not None
    assert known.head.state == b""
    cache.put(THREAD, "thread_huge", replace(head, state=b"x" * 30_000), THREAD.initial("thread"))
    assert (len(cache), cache.bytes) == (0, 0)


def test_the_absence_of_a_stream_is_not_cached() -> None:
    cache = HeadCache()
    cache.put(THREAD, "thread_1", NO_STREAM, THREAD.initial("thread_1"))
    assert len(cache) == 0
