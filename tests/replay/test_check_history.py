"""Histories of databases and files are checked against today's software."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from events.streams import STREAM_TYPES, THREAD, StreamType
from service.database import Pool, connect, open_pool
from service.migrations import migrate
from service.replay import check_history, check_others
from service.replay.check_history import (
    MAX_PER_STREAM,
    CheckScope,
    HistoryCheck,
    check_database,
    check_file,
    find_missing,
)
from service.replay.deviations import Deviation, LoggedEvent
from service.replay.recorded_events import render_line, stream_type_of
from service.runs import plan as planning
from service.runs.plan import Rest
from sql.connection import Connection
from tests.events.thread.story import CREATE, Story, add, claim, finish, given, run
from tests.fixtures.postgres import empty_database
from tests.projections.helpers import ORIGIN, make_thread, writer
from tests.sealed import opened

DUMPS = sorted((Path(__file__).parents[1] / "sql" / "dumps").iterdir())


def history_check(*runs: str) -> HistoryCheck:
    return HistoryCheck(lambda _: "again", frozenset(runs))


async def deviations(check: HistoryCheck, pool: Pool, scope: CheckScope | None = None) -> list[Deviation]:
    return [found async for found in check_database(check, pool, scope or CheckScope(), lambda: None)]


@pytest.fixture(params=DUMPS, ids=lambda folder: folder.name)
async def old_database(request: pytest.FixtureRequest, postgres: str) -> AsyncIterator[str]:
    """The database of a server of an earlier release, with every kind of object, upgraded."""
    async with empty_database(postgres) as url:
        db = await connect(url)
        await db.execute(gzip.decompress((request.param / "dump.sql.gz").read_bytes()).decode())
        await db.close()
        db = await connect(url)
        await migrate(db)
        await db.close()
        yield url


async def test_histories_of_earlier_releases_do_not_deviate(old_database: str) -> None:
    pool, check = await open_pool(old_database), history_check()
    try:
        assert await deviations(check, pool) == []
        events = await pool.fetchval("SELECT count(*) FROM events")
        assert check.progress.events == check.progress.total_events == events > 0
    finally:
        await pool.close()


async def test_a_planted_change_of_any_stream_is_found(old_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `decide` that leads to nothing differs at every append of its type of stream."""
    pool = await open_pool(old_database)
    try:
        for stream_type in STREAM_TYPES.values():
            with monkeypatch.context() as patched:
                silent = replace(stream_type, decide=lambda state, command, at: [])
                patched.setattr(check_history, "stream_type_of", lambda event, silent=silent: _silenced(event, silent))
                patched.setitem(check_others.INVERSIONS, silent, check_others.INVERSIONS.get(stream_type))
                found = await deviations(history_check(), pool)
            kinds = {
                await pool.fetchval("SELECT kind FROM streams WHERE stream_id = $1", one.stream_id) for one in found
            }
            has_streams = await pool.fetchval("SELECT count(*) FROM streams WHERE kind = $1", stream_type.name)
            assert kinds == ({stream_type.name} if has_streams and stream_type is not THREAD else set())
    finally:
        await pool.close()


def _silenced(event: object, silent: StreamType[Any, Any]) -> StreamType[Any, Any]:
    own = stream_type_of(event)
    return silent if own.name == silent.name and own is not THREAD else own


async def test_a_changed_state_in_a_head_is_found(pool: Pool, db: Connection) -> None:
    await make_thread(write := writer(pool), "thread_1")
    await write.thread(ORIGIN, "thread_1", add("Hi"))
    assert await deviations(history_check(), pool) == []
    state = await db.fetchval(opened("SELECT stream_id, version, state FROM streams", "streams"))
    await db.execute("UPDATE streams SET state = $1", state.replace(b":1", b":2"))
    [found] = await deviations(history_check(), pool)
    assert (found.part, found.type, found.version) == ("evolve", "message.added", 2)
    assert '"user_messages":2' in found.recorded
    assert '"user_messages":1' in found.today


async def test_events_that_cannot_be_read_end_the_check_of_their_stream(pool: Pool, db: Connection) -> None:
    for id in ("thread_1", "thread_2"):
        await make_thread(write := writer(pool), id)
        await write.thread(ORIGIN, id, add("Hi"))
    await db.execute("UPDATE events SET schema_version = 99 WHERE stream_id = 'thread_1' AND version = 1")
    [found] = await deviations(check := history_check(), pool)
    assert (found.part, found.stream_id, found.version) == ("read", "thread_1", 1)
    assert "event schema 99 is newer" in found.today
    assert check.progress.events == 4


async def test_only_the_runs_that_are_asked_for_count(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    write = writer(pool)
    await make_thread(write, "thread_1")
    await write.thread(ORIGIN, "thread_1", add("Hi"))
    for id in ("run_1", "run_2"):
        await write.thread(ORIGIN, "thread_1", run(id, claim=claim(first=id)))
        await write.thread(ORIGIN, "thread_1", finish("Hello.", run_id=id))
    monkeypatch.setattr(planning, "plan", lambda run, **_: Rest())
    scope = CheckScope(stream_ids=["thread_1"])
    assert {one.run_id for one in await deviations(history_check(), pool, scope)} == {"run_1", "run_2"}
    assert {one.run_id for one in await deviations(history_check("run_2"), pool, scope)} == {"run_2"}


async def test_a_long_list_of_deviations_is_cut(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    write = writer(pool)
    await make_thread(write, "thread_1")
    await write.thread(ORIGIN, "thread_1", add("Hi"))
    for number in range(MAX_PER_STREAM + 3):
        await write.thread(ORIGIN, "thread_1", run(f"run_{number}", claim=claim(first=str(number))))
        await write.thread(ORIGIN, "thread_1", finish("Hello.", run_id=f"run_{number}"))
    monkeypatch.setattr(planning, "plan", lambda run, **_: Rest())
    found = await deviations(check := history_check(), pool)
    assert (len(found), check.progress.left_out) == (MAX_PER_STREAM, 3)
    assert check.progress.deviations == MAX_PER_STREAM + 3


async def test_a_large_history_is_read_in_batches(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_history, "PAGE_STREAMS", 2)
    monkeypatch.setattr(check_history, "BATCH_EVENTS", 3)
    monkeypatch.setattr(check_history, "PREFETCH", 2)
    write = writer(pool)
    for number in range(7):
        await make_thread(write, f"thread_{number}")
        for message in range(number):
            await write.thread(ORIGIN, f"thread_{number}", add("Hi", f"msg_{number}_{message}"))
    assert await deviations(check := history_check(), pool) == []
    assert (check.progress.streams, check.progress.events) == (7, 7 + sum(range(7)))


async def test_missing_streams(pool: Pool) -> None:
    await make_thread(writer(pool), "thread_1")
    assert await find_missing(pool, ["thread_1", "thread_2"]) == ["thread_2"]


def lines_of(story: Story) -> list[bytes]:
    return [render_line(LoggedEvent(recorded, "0.1.0")) for recorded in story.log]


def check_lines(path: Path, *lines: bytes) -> tuple[list[Deviation], HistoryCheck]:
    path.write_bytes(b"".join(lines))
    check = history_check()
    return list(check_file(check, path, lambda: None)), check


def test_files_hold_events_of_several_streams(tmp_path: Path) -> None:
    one, two = given(CREATE, add("Hi")), Story("thread_2")
    two.do(CREATE)
    two.do(add("Ho"))
    mixed = [line for pair in zip(lines_of(one), lines_of(two), strict=True) for line in pair]
    found, check = check_lines(tmp_path / "a.jsonl", *mixed, b"\n")
    assert found == []
    assert (check.progress.streams, check.progress.events) == (2, 4)


def test_a_file_with_a_gap(tmp_path: Path) -> None:
    lines = lines_of(given(CREATE, add("Hi"), add("Ho", "msg_2")))
    found, _ = check_lines(tmp_path / "a.jsonl", lines[0], lines[2])
    assert [(one.part, one.version, one.recorded) for one in found] == [
        ("read", 3, "the history has no event 2 before it")
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "unexpected end"),
        (b"[]", "it has no stream_id"),
        (b'{"stream_id": "a"}', "it has no version"),
        (b'{"object": "audit.events_lost", "lost_from": 1}', "it has no stream_id"),
    ],
)
def test_lines_that_are_no_events(tmp_path: Path, line: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=rf"a\.jsonl, line 2: no recorded event: {reason}"):
        check_lines(tmp_path / "a.jsonl", lines_of(given(CREATE))[0], line)


def test_an_export_without_contents_is_refused(tmp_path: Path) -> None:
    facts = orjson.loads(lines_of(given(CREATE))[0])
    del facts["content"]
    with pytest.raises(ValueError, match="an export needs --content"):
        check_lines(tmp_path / "a.jsonl", orjson.dumps(facts))


def test_an_event_of_newer_software_in_a_file(tmp_path: Path) -> None:
    facts = orjson.loads(lines_of(given(CREATE))[0])
    facts["content"]["type"] = facts["type"] = "thread.painted"
    [found], _ = check_lines(tmp_path / "a.jsonl", orjson.dumps(facts))
    assert (found.part, found.type) == ("read", "thread.painted")
