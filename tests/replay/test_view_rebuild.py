"""`everthread rebuild`: the views are replaced while a service writes, in parts, and after any interruption."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from events.envelope import RecordedEvent
from events.errors import DomainError
from events.software_version import SOFTWARE_VERSION
from events.streams import THREAD
from events.thread import events as e
from events.thread.commands import ModifyMessage
from projections import messages, rebuild, views
from projections.rebuild import compare, list_streams
from projections.row_differences import Difference
from service.cli.rebuild import RebuildReport, describe
from service.database import Pool, connect
from service.errors import CommandError
from service.replay import view_rebuild
from service.replay.view_rebuild import (
    BatchResult,
    RebuildBusy,
    RebuildNote,
    RebuildProgress,
    RebuildScope,
    find_note,
    rebuild_views,
)
from service.secrets.encryption import begin_encryption, read_keys
from service.settings import Settings
from sql import queries
from sql.connection import Connection
from sql.row_operations import RowOperation
from tests.cli.test_keys import everthread
from tests.events.thread.histories import World
from tests.events.thread.story import add
from tests.projections.helpers import ORIGIN, make_assistant, make_thread, served_rows, writer
from tests.sealed import opened

THREADS = 6
COMMANDS = 25
FAST = RebuildScope(max_load=1.0)
STATES = opened("SELECT stream_id, version, state FROM streams ORDER BY 1", "streams")


class Interrupted(Exception):
    pass


async def fill(pool: Pool) -> list[str]:
    """Writes threads of random histories and an assistant. Returns their ids."""
    write, ids = writer(pool), []
    for seed in range(THREADS):
        world = World(Random(seed), f"thread_{seed}", lifetimes=(0, 600, 600, 600))
        for _ in range(COMMANDS):
            try:
                world.absorb((await write.thread(ORIGIN, world.state.id, world.next_command())).recorded)
            except DomainError:
                continue
        ids.append(world.state.id)
    await make_assistant(write, "asst_1", metadata={"a": "b"})
    return [*ids, "asst_1"]


async def all_rows(db: Connection, ids: Sequence[str]) -> dict[str, Any]:
    return {id: await served_rows(db, id) for id in ids}


async def break_views(db: Connection) -> None:
    await db.execute("UPDATE messages SET body = '{}', patches = '{}'")
    await db.execute("DELETE FROM steps")
    await db.execute("UPDATE streams SET state = '{}' WHERE stream_id = 'thread_1'")


def ignore(progress: RebuildProgress, result: BatchResult) -> None:
    pass


def stop_after(streams: int) -> Callable[[RebuildProgress, BatchResult], None]:
    """Interrupts a rebuild before it notes the batch with which it has done so many streams."""

    def stop(progress: RebuildProgress, result: BatchResult) -> None:
        if progress.streams >= streams:
            raise Interrupted

    return stop


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(view_rebuild, "BATCH_STREAMS", 2)
    monkeypatch.setattr(view_rebuild, "NOTE_EVERY_S", 0.0)
    return iter(())


async def test_a_check_finds_what_a_rebuild_mends(pool: Pool, db: Connection, database_url: str) -> None:
    ids = await fill(pool)
    before, states = await all_rows(db, ids), await db.fetch(STATES)
    await break_views(db)
    found: list[Difference] = []
    check = RebuildScope(check=True, max_load=1.0)
    progress = await rebuild_views(database_url, check, lambda _, result: found.extend(result.differences))
    assert {difference.view for difference in found} >= {"messages", "steps", "heads"}
    assert progress.differences == len(found)
    progress = await rebuild_views(database_url, FAST, ignore)
    assert (progress.streams, progress.broken) == (len(ids), [])
    assert await all_rows(db, ids) == before
    assert await db.fetch(STATES) == states
    assert (await rebuild_views(database_url, check, ignore)).differences == 0


async def test_a_rebuild_mends_what_does_not_open_and_names_streams_whose_events_do_not(
    pool: Pool, db: Connection, database_url: str, tmp_path: Path
) -> None:
    source = Settings.load().encryption_keys(tmp_path)
    await begin_encryption(db, source, await read_keys(source))
    ids = ["thread_1", "thread_2"]
    for id in ids:
        await make_thread(writer(pool), id, "one")
    before, states = await all_rows(db, ids), await db.fetch(STATES)
    await db.execute(
        "UPDATE messages SET body = other.body FROM messages AS other"
        " WHERE messages.thread_id = 'thread_1' AND other.thread_id = 'thread_2'"
    )
    await db.execute(
        "UPDATE streams SET state = other.state FROM streams AS other"
        " WHERE streams.stream_id = 'thread_1' AND other.stream_id = 'thread_2'"
    )
    found: list[str] = []
    check = RebuildScope(check=True, max_load=1.0)
    await rebuild_views(database_url, check, lambda _, result: found.extend(each.view for each in result.differences))
    assert sorted(found) == ["heads", "messages"]
    assert (await rebuild_views(database_url, FAST, ignore)).broken == []
    assert (await all_rows(db, ids), await db.fetch(STATES)) == (before, states)
    await db.execute(
        "UPDATE events SET content = set_byte(content, 60, get_byte(content, 60) # 1)"
        " WHERE stream_id = 'thread_2' AND version = 2"
    )
    reasons = dict[str, str]()
    await rebuild_views(database_url, FAST, lambda _, result: reasons.update(result.broken))
    assert reasons.keys() == {"thread_2"}
    assert "version 2 cannot be read" in reasons["thread_2"]
    assert await all_rows(db, ids) == before


async def test_a_check_finds_rows_of_no_stream(pool: Pool, db: Connection, database_url: str) -> None:
    await make_thread(writer(pool), "thread_1", "one")
    await db.execute(
        "INSERT INTO messages (thread_id, message_id, project_id, position, body)"
        " VALUES ('thread_9', 'msg_9', 'p', 1, '')"
    )
    found: list[str] = []

    async def check(*views: str) -> int:
        scope = RebuildScope(check=True, max_load=1.0, views=views or rebuild.ALL_VIEWS)
        found.clear()
        progress = await rebuild_views(
            database_url, scope, lambda _, result: found.extend(map(describe, result.differences))
        )
        return progress.differences

    assert await check() == 1
    assert found == ["thread_9: messages msg_9: no event leads to the row"]
    assert await check("runs") == 0


async def test_one_view_is_rebuilt_alone(pool: Pool, db: Connection, database_url: str) -> None:
    ids = await fill(pool)
    await break_views(db)
    await rebuild_views(database_url, RebuildScope(views={"messages"}, max_load=1.0), ignore)
    _, differences = await compare(db, ids)
    assert {difference.view for difference in differences} == {"steps", "heads"}


async def test_a_rebuild_goes_on_where_it_was_broken_off(
    pool: Pool, db: Connection, database_url: str, small_batches: None
) -> None:
    ids = await fill(pool)
    before = await all_rows(db, ids)
    await break_views(db)
    with pytest.raises(Interrupted):
        await rebuild_views(database_url, FAST, stop_after(4))
    later = await rebuild_views(database_url, FAST, ignore)
    assert later.resumed_after == sorted(ids)[1]
    assert (later.streams, later.total_streams) == (len(ids), len(ids))
    assert await all_rows(db, ids) == before
    assert (await rebuild_views(database_url, FAST, ignore)).resumed_after is None


async def test_a_rebuild_begins_again_if_it_is_asked_to(
    pool: Pool, db: Connection, database_url: str, small_batches: None
) -> None:
    await fill(pool)
    await note_rebuild(db, SOFTWARE_VERSION)
    await break_views(db)
    progress = await rebuild_views(database_url, RebuildScope(max_load=1.0, restart=True), ignore)
    assert progress.resumed_after is None
    assert (await rebuild_views(database_url, RebuildScope(check=True, max_load=1.0), ignore)).differences == 0


async def note_rebuild(db: Connection, software_version: str) -> None:
    """Notes that a rebuild of all views was broken off after thread_3."""
    values = (sorted(rebuild.ALL_VIEWS), "thread_3", software_version)
    await db.execute("INSERT INTO view_rebuilds VALUES ($1, $2, now(), $3)", *values)


async def test_a_rebuild_that_other_software_broke_off_begins_again(
    pool: Pool, db: Connection, database_url: str
) -> None:
    await fill(pool)
    await note_rebuild(db, "0.0.1+older")
    await break_views(db)
    assert (await rebuild_views(database_url, FAST, ignore)).resumed_after is None
    assert (await rebuild_views(database_url, RebuildScope(check=True, max_load=1.0), ignore)).differences == 0


async def test_a_second_rebuild_is_refused_while_one_is_at_work(
    pool: Pool, db: Connection, database_url: str, small_batches: None
) -> None:
    ids = await fill(pool)
    holder = await connect(database_url)
    assert await holder.fetchval(queries("view_rebuilds")["lock"])
    with pytest.raises(RebuildBusy):
        await rebuild_views(database_url, FAST, ignore)
    assert (await rebuild_views(database_url, RebuildScope(check=True, max_load=1.0), ignore)).streams == len(ids)
    holder.terminate()


class _FailingConnection:
    """A connection that is lost at its n-th statement."""

    def __init__(self, db: Connection, calls: int) -> None:
        self._db, self._calls = db, calls

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._db, name)
        if name not in ("fetch", "execute", "copy_records_to_table", "cursor"):
            return value
        self._calls -= 1
        if self._calls < 0:
            self._db.terminate()
        return value


async def test_a_process_that_dies_at_any_statement_leaves_old_rows_or_new_ones(
    pool: Pool, db: Connection, database_url: str
) -> None:
    ids = await fill(pool)
    right = await all_rows(db, ids)
    await break_views(db)
    wrong = await all_rows(db, ids)
    calls = 0
    while True:
        connection = await connect(database_url)
        try:
            await rebuild.rebuild(_FailingConnection(connection, calls), ids)  # type: ignore[arg-type]
        except Exception:  # noqa: BLE001 - whatever a lost connection raises
            assert await all_rows(db, ids) == wrong
        else:
            break
        finally:
            connection.terminate()
        calls += 1
    assert calls > 10
    assert await all_rows(db, ids) == right


@pytest.mark.parametrize("seed", range(3))
async def test_a_service_that_writes_loses_nothing(pool: Pool, db: Connection, database_url: str, seed: int) -> None:
    write = writer(pool)
    ids = [f"thread_{number}" for number in range(4)]
    for id in ids:
        await make_thread(write, id)
    ended = asyncio.Event()

    async def append(id: str) -> int:
        count = 0
        while not ended.is_set():
            await write.thread(ORIGIN, id, add("x", f"msg_{id}_{count}"))
            count += 1
        return count

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(append(id)) for id in ids]
        for _ in range(5):
            await rebuild_views(database_url, FAST, ignore)
        ended.set()
    for id, task in zip(ids, tasks, strict=True):
        assert await db.fetchval("SELECT count(*) FROM messages WHERE thread_id = $1", id) == task.result() > 0
    assert (await compare(db, ids))[1] == []


async def test_a_bug_of_a_projection_is_found_and_mended(
    pool: Pool, db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = writer(pool)

    def project(batch: Sequence[RecordedEvent[e.ThreadEvent]], before: Any) -> list[RowOperation]:
        return [operation for operation in messages.project(batch, before) if operation.block != "messages.modify"]

    with monkeypatch.context() as patch:
        projects = tuple(project if one is messages.project else one for one in views.VIEWS[THREAD])
        patch.setattr(views, "VIEWS", {**views.VIEWS, THREAD: projects})
        await make_thread(write, "thread_1", "one")
        await write.thread(ORIGIN, "thread_1", ModifyMessage("msg_1", True, {"a": "b"}))
        assert (await compare(db, ["thread_1"]))[1] == []
    [difference] = (await compare(db, ["thread_1"]))[1]
    assert (
        describe(difference) == "thread_1: messages msg_1: patches is [] instead of"
        """ [{"metadata":{"a":"b"}}]"""
    )
    await rebuild.rebuild(db, ["thread_1"])
    assert (await compare(db, ["thread_1"]))[1] == []
    assert (await messages.get(db, "proj_1", "thread_1", "msg_1")).metadata == {"a": "b"}


async def test_a_stream_with_a_hole_is_named_and_others_are_rebuilt(
    pool: Pool, db: Connection, database_url: str
) -> None:
    ids = await fill(pool)
    await db.execute("DELETE FROM events WHERE stream_id = 'thread_2' AND version = 2")
    await break_views(db)
    progress = await rebuild_views(database_url, FAST, ignore)
    [reason] = progress.broken
    assert "thread_2 cannot be rebuilt from its events: it has no event 2" in reason
    assert (await compare(db, [id for id in ids if id != "thread_2"]))[1] == []


async def test_a_rebuild_that_goes_on_names_the_streams_that_were_broken_before(
    pool: Pool, db: Connection, database_url: str, small_batches: None
) -> None:
    ids = await fill(pool)
    await db.execute("DELETE FROM events WHERE stream_id = 'thread_0' AND version = 2")
    await break_views(db)
    with pytest.raises(Interrupted):
        await rebuild_views(database_url, FAST, stop_after(5))
    later = await rebuild_views(database_url, FAST, ignore)
    [reason] = later.broken
    assert later.resumed_after == sorted(ids)[3]
    assert "thread_0 cannot be rebuilt" in reason
    assert (later.streams, later.events) == (len(ids), later.total_events)


async def test_a_rebuild_that_goes_on_makes_rows_of_streams_that_were_mended_since(
    pool: Pool, db: Connection, database_url: str, small_batches: None
) -> None:
    ids = await fill(pool)
    before = await all_rows(db, ids)
    await db.execute("CREATE TABLE saved AS SELECT * FROM events WHERE stream_id = 'thread_0' AND version = 2")
    await db.execute("DELETE FROM events WHERE stream_id = 'thread_0' AND version = 2")
    await break_views(db)
    with pytest.raises(Interrupted):
        await rebuild_views(database_url, FAST, stop_after(5))
    await db.execute("INSERT INTO events SELECT * FROM saved")
    assert (await rebuild_views(database_url, FAST, ignore)).broken == []
    assert await all_rows(db, ids) == before


async def test_a_rebuild_that_ended_with_broken_streams_is_repeated_or_only_those_are(
    pool: Pool, db: Connection, database_url: str, small_batches: None
) -> None:
    ids = await fill(pool)
    await db.execute("DELETE FROM events WHERE stream_id = 'thread_2' AND version = 2")
    batches = list[BatchResult]()
    retry = replace(FAST, retries_broken=True)
    for scope, count in ((FAST, 4), (FAST, 4), (retry, 1), (retry, 1), (FAST, 4)):
        progress = await rebuild_views(database_url, scope, lambda _, result: batches.append(result))
        assert (len(batches), len(progress.broken), progress.streams) == (count, 1, len(ids))
        batches.clear()
    await db.execute("UPDATE streams SET version = 1 WHERE stream_id = 'thread_2'")
    await db.execute("DELETE FROM events WHERE stream_id = 'thread_2' AND version > 1")
    assert (await rebuild_views(database_url, retry, ignore)).broken == []
    assert await db.fetchval("SELECT count(*) FROM view_rebuilds") == 0


@pytest.mark.parametrize("limit", [1, 2])
async def test_a_note_names_a_bounded_number_of_broken_streams(
    pool: Pool, db: Connection, database_url: str, small_batches: None, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(view_rebuild, "MAX_NOTED_BROKEN", limit)
    ids = sorted(await fill(pool))
    await db.execute("DELETE FROM events WHERE stream_id IN ('thread_0', 'thread_2', 'thread_3') AND version = 2")
    with pytest.raises(Interrupted):
        await rebuild_views(database_url, FAST, stop_after(len(ids)))
    note = await find_note(db, rebuild.ALL_VIEWS)
    assert note == RebuildNote(ids[2 * limit - 1], ["thread_0", "thread_2"][:limit])
    assert len((await rebuild_views(database_url, FAST, ignore)).broken) == 3
    note = await find_note(db, rebuild.ALL_VIEWS)
    assert note is not None
    assert (len(note.broken), note.has_ended) == (limit, True)
    assert len((await rebuild_views(database_url, replace(FAST, retries_broken=True), ignore)).broken) == 3


def test_a_check_that_could_not_compare_a_stream_does_not_say_that_all_is_well(
    capsys: pytest.CaptureFixture[str],
) -> None:
    RebuildReport().finish(RebuildProgress(broken=["thread_2 has no event 2"]), check=True)
    report = capsys.readouterr().err
    assert "The events of 1 streams lead to no rows" in report
    assert "The views are those" not in report


@pytest.mark.slow
async def test_several_processes_do_the_same(pool: Pool, db: Connection, database_url: str) -> None:
    ids = await fill(pool)
    before = await all_rows(db, ids)
    await break_views(db)
    await rebuild_views(database_url, RebuildScope(max_load=2.0), ignore)
    assert await all_rows(db, ids) == before
    await break_views(db)
    await rebuild_views(database_url, RebuildScope(max_load=1.0, has_own_process=True), ignore)
    assert await all_rows(db, ids) == before


async def test_the_work_rests_for_its_share(monkeypatch: pytest.MonkeyPatch, db: Connection) -> None:
    clock, rests = iter([10.0, 12.0]), []

    async def rest(seconds: float) -> None:
        rests.append(seconds)

    monkeypatch.setattr(view_rebuild, "monotonic", lambda: next(clock))
    monkeypatch.setattr("asyncio.sleep", rest)
    await view_rebuild._work_and_rest(db, [], FAST, 0.25)
    assert rests[-1] == 6.0


@pytest.mark.slow
async def test_the_command(pool: Pool, db: Connection, database_url: str) -> None:
    ids = await fill(pool)

    async def command(*arguments: str) -> tuple[int, str, str]:
        return await asyncio.to_thread(everthread, "rebuild", *arguments, EVERTHREAD_DATABASE_URL=database_url)

    await break_views(db)
    code, output, report = await command("--check", "--max-load", "1")
    assert code == 1
    assert ": the row is missing" in output
    assert "rows differ." in report
    code, output, report = await command("--max-load", "1")
    assert (code, output) == (0, "")
    assert report.startswith(f"{len(ids)} streams with ")
    code, output, report = await command("--check", "messages", "runs")
    assert (code, output) == (0, "")
    assert report.endswith("The views are those of the events.")
    code, output, report = await command("nothing")
    assert code == 1
    assert "There is no view 'nothing'. The views are active_runs, " in report


def test_an_unknown_view_is_refused() -> None:
    from service.cli.rebuild import parse_views

    assert parse_views([]) == rebuild.ALL_VIEWS
    with pytest.raises(CommandError, match="no view 'x'"):
        parse_views(["messages", "x"])


async def test_streams_are_listed_after_one(pool: Pool, db: Connection) -> None:
    ids = await fill(pool)
    assert [id async for id, _ in list_streams(db, "thread_2")] == [id for id in ids if id > "thread_2"]
