"""A new shape of a view beside the old: appends write both, a fill completes it, and old software stops writing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest

from events import event_log
from events.errors import DomainError
from events.streams import THREAD
from events.thread.commands import DeleteMessage, DeleteThread, ModifyMessage, ThreadCommand
from projections import generations, messages, mixes, rebuild
from projections.rows import Cursor
from service.database import Pool, connect
from service.replay import generation_fill, view_rebuild
from service.replay.generation_fill import GenerationFill
from service.replay.view_rebuild import BatchResult, RebuildProgress, rebuild_views
from sql import queries
from sql.connection import Connection
from sql.row_operations import OutdatedSoftware, compose
from tests.client import KEY, Client
from tests.crash.conftest import Start, start
from tests.events.thread.histories import World
from tests.events.thread.story import add
from tests.forked import ForkedCommand, ForkedServer
from tests.machine import clean_environment
from tests.projections.helpers import ORIGIN, make_thread, writer
from tests.replay.sample_generation import KILL_AT, MIGRATION, TABLE, clear_caches, install, prepare_server
from tests.scripted import ScriptedServer

__all__ = ["start"]
START_S = 120.0
PHASES = ("batch 1", "batch 3", "before live", "after live")


@pytest.fixture
def newer_software(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        install(patch)
        patch.setattr(generation_fill, "HAS_OWN_PROCESS", False)
        yield
    generations._live.clear()
    clear_caches()


def test_no_generation_is_newer_than_the_epoch_of_this_software() -> None:
    assert (event_log.VIEW_EPOCH > 0) or not generations.GENERATIONS


async def fill_threads(pool: Pool, seeds: range) -> list[str]:
    write, ids = writer(pool), []
    for seed in seeds:
        world = World(Random(seed), f"thread_{seed}", lifetimes=(0, 600, 600, 600))
        for _ in range(25):
            try:
                world.absorb((await write.thread(ORIGIN, world.state.id, world.next_command())).recorded)
            except DomainError:
                continue
        ids.append(world.state.id)
    return ids


async def change_threads(pool: Pool, ids: Sequence[str], text: str) -> None:
    """Adds a message to each thread that takes one, changes its first message, and deletes the last one."""
    write = writer(pool)
    for id in ids:
        found = await pool.fetch("SELECT message_id FROM messages WHERE thread_id = $1 AND NOT deleted ORDER BY 1", id)
        commands: list[ThreadCommand] = [add(text, f"msg_{text}_{id}")]
        if found:
            commands.append(ModifyMessage(found[0][0], True, {"changed": text}))
        if len(found) > 2:
            commands.append(DeleteMessage(found[-1][0], "user"))
        for command in commands:
            with suppress(DomainError):
                await write.thread(ORIGIN, id, command)


async def test_software_that_does_not_know_a_generation_cannot_append(pool: Pool, db: Connection) -> None:
    write = writer(pool)
    await make_thread(write, "thread_1", "one")
    await db.execute(MIGRATION)
    for command in (add("two", "msg_2"), DeleteThread()):
        with pytest.raises(OutdatedSoftware):
            await write.thread(ORIGIN, "thread_1", command)
    with pytest.raises(OutdatedSoftware):
        await make_thread(write, "thread_2")
    await db.execute("DELETE FROM messages")
    with pytest.raises(OutdatedSoftware):
        await rebuild.rebuild(db, ["thread_1"])
    assert await db.fetchval("SELECT count(*) FROM events") == 2
    assert (await messages.page(db, "proj_1", "thread_1", Cursor(limit=10))).items == []


async def test_appends_write_both_shapes_and_a_fill_completes_the_newer_one(
    pool: Pool, db: Connection, database_url: str, monkeypatch: pytest.MonkeyPatch, newer_software: None
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(generations, "GENERATIONS", ())
        patch.setattr(event_log, "VIEW_EPOCH", 0)
        clear_caches()
        ids = await fill_threads(pool, range(3))
    await db.execute(MIGRATION)
    clear_caches()
    assert await db.fetchval(f"SELECT count(*) FROM {TABLE}") == 0
    await change_threads(pool, ids, "both")
    ids += await fill_threads(pool, range(3, 5))
    assert (await rebuild.compare(db, ids[3:], {TABLE}))[1] == []
    assert (await rebuild.compare(db, ids[:3], {TABLE}))[1] != []
    assert not generations.is_live("messages", 2)
    fill = GenerationFill(pool, database_url)
    await fill.scan()
    assert await fill.check_health() is None
    assert generations.is_live("messages", 2)
    assert (await rebuild.compare(db, ids, {TABLE, *rebuild.ALL_VIEWS}))[1] == []
    await change_threads(pool, ids, "after")
    assert (await rebuild.compare(db, ids, {TABLE, *rebuild.ALL_VIEWS}))[1] == []


async def test_every_statement_with_a_generation_is_valid(db: Connection, newer_software: None) -> None:
    await db.execute(MIGRATION)
    texts = {compose(mix) for mix in mixes.statement_mixes(THREAD)}
    assert len(texts) == len(mixes.MIXES[THREAD])
    for text in texts:
        await db.prepare(text)


PROBLEM = "messages 2 cannot be filled: the events of thread_1 lead to no rows"


@pytest.fixture
async def broken_thread(pool: Pool, db: Connection, newer_software: None) -> None:
    """A thread without rows in the newer table, whose second event is in the table `saved`."""
    await db.execute(MIGRATION)
    for id in ("thread_1", "thread_2", "thread_3"):
        await make_thread(writer(pool), id, "one", "two")
    await db.execute(f"DELETE FROM {TABLE}")
    await db.execute("CREATE TABLE saved AS SELECT * FROM events WHERE stream_id = 'thread_1' AND version = 2")
    await db.execute("DELETE FROM events WHERE stream_id = 'thread_1' AND version = 2")


async def mend_thread(db: Connection) -> None:
    await db.execute("INSERT INTO events SELECT * FROM saved")


async def test_a_generation_with_a_broken_stream_is_not_live(
    pool: Pool, database_url: str, broken_thread: None
) -> None:
    fill = GenerationFill(pool, database_url)
    await fill.scan()
    assert await fill.check_health() == PROBLEM
    assert not generations.is_live("messages", 2)


async def test_a_fill_that_goes_on_after_a_broken_stream_does_not_make_a_generation_live(
    pool: Pool, db: Connection, database_url: str, broken_thread: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view_rebuild, "BATCH_STREAMS", 1)
    monkeypatch.setattr(view_rebuild, "NOTE_EVERY_S", 0.0)

    def stop(progress: RebuildProgress, result: BatchResult) -> None:
        if progress.streams == 2:
            raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(generation_fill, "_ignore", stop)
        with pytest.raises(RuntimeError):
            await GenerationFill(pool, database_url).scan()
    assert await db.fetchval("SELECT last_stream_id FROM view_rebuilds") == "thread_1"
    other = GenerationFill(pool, database_url)
    await other.scan()
    assert not generations.is_live("messages", 2)
    assert await other.check_health() == PROBLEM


class Attempts:
    """Counts the streams that fills work on, by attempt, and moves their clock."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        self.streams: list[int] = []

        async def count_streams(db: Connection, ids: Sequence[str], views: Collection[str]) -> int:
            self.streams[-1] += len(ids)
            return await rebuild.rebuild(db, ids, views)

        async def count_attempts(*given: Any) -> RebuildProgress:
            self.streams.append(0)
            return await rebuild_views(*given)

        patch.setattr(generation_fill, "monotonic", lambda: self.now_s)
        patch.setattr(generation_fill, "rebuild_views", count_attempts)
        patch.setattr(view_rebuild, "BATCH_STREAMS", 1)
        patch.setattr(view_rebuild, "rebuild", count_streams)


async def test_a_broken_stream_is_worked_on_again_after_growing_pauses(
    pool: Pool, db: Connection, database_url: str, broken_thread: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = Attempts(monkeypatch)
    fill = GenerationFill(pool, database_url)
    await fill.scan()
    # The broken stream fails once, and is left out then.
    assert attempts.streams == [3]
    pause_s = generation_fill.RETRY_S
    for count in range(1, 10):
        attempts.now_s += pause_s - 0.1
        await fill.scan()
        assert len(attempts.streams) == count
        attempts.now_s += 0.1
        await fill.scan()
        assert attempts.streams[count:] == [1]
        pause_s = min(2 * pause_s, generation_fill.MAX_RETRY_S)
    assert pause_s == generation_fill.MAX_RETRY_S
    await mend_thread(db)
    attempts.now_s += pause_s
    await fill.scan()
    assert await fill.check_health() is None
    assert generations.is_live("messages", 2)
    assert (await rebuild.compare(db, ["thread_1", "thread_2", "thread_3"], {TABLE}))[1] == []


async def test_a_fill_that_raises_is_tried_again_after_a_pause(
    pool: Pool, database_url: str, broken_thread: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = Attempts(monkeypatch)

    def fail(progress: RebuildProgress, result: BatchResult) -> None:
        raise RuntimeError

    monkeypatch.setattr(generation_fill, "_ignore", fail)
    fill = GenerationFill(pool, database_url)
    with pytest.raises(RuntimeError):
        await fill.scan()
    await fill.scan()
    assert len(attempts.streams) == 1
    attempts.now_s += generation_fill.RETRY_S
    with pytest.raises(RuntimeError):
        await fill.scan()


async def test_all_processes_report_a_broken_stream_until_the_generation_is_live(
    pool: Pool, db: Connection, database_url: str, broken_thread: None
) -> None:
    first, second = GenerationFill(pool, database_url), GenerationFill(pool, database_url)
    await first.scan()
    holder = await connect(database_url)
    assert await holder.fetchval(queries("view_rebuilds")["lock"])
    await second.scan()
    await holder.close()
    assert await second.check_health() == await first.check_health() == PROBLEM
    await mend_thread(db)
    await second.scan()
    assert generations.is_live("messages", 2)
    await first.scan()
    assert await second.check_health() is None
    assert await first.check_health() is None


def environment_of(database_url: str, model: ScriptedServer, data: Path) -> dict[str, str]:
    return {
        **clean_environment(),
        "EVERTHREAD_DATABASE_URL": database_url,
        "EVERTHREAD_DATA_DIR": str(data),
        "EVERTHREAD_API_KEY": KEY,
        "EVERTHREAD_MODEL_BASE_URL": model.base_url,
        "EVERTHREAD_CODE_INTERPRETER": "off",
        "EVERTHREAD_PORT": "0",
    }


class Load:
    """Writes messages through whichever server accepts them, and reads them through all."""

    def __init__(self, threads: list[str]) -> None:
        self.clients: list[Client] = []
        self.acknowledged: dict[str, list[str]] = {id: [] for id in threads}
        self.reads = 0
        self.tasks: list[asyncio.Task[None]] = []
        self._has_ended = False

    async def write(self, thread_id: str) -> None:
        while not self._has_ended:
            for client in reversed(self.clients):
                body = {"role": "user", "content": "x"}
                try:
                    answer = await client.call("POST", f"/threads/{thread_id}/messages", body)
                except OSError:
                    continue
                if answer.status == 200:
                    self.acknowledged[thread_id].append(answer.body["id"])
                    break
                assert answer.status == 503, answer.body
            await asyncio.sleep(0.1)

    async def read(self, thread_id: str) -> None:
        while not self._has_ended:
            for client in list(self.clients):
                expected = self.acknowledged[thread_id][-50:]
                try:
                    answer = await client.call("GET", f"/threads/{thread_id}/messages", limit="100")
                except OSError:
                    continue
                assert answer.status == 200, answer.body
                assert set(expected) <= {message["id"] for message in answer.body["data"]}
                self.reads += 1
            await asyncio.sleep(0.1)

    async def end(self) -> None:
        self._has_ended = True
        await asyncio.gather(*self.tasks)


@pytest.mark.slow
async def test_an_upgrade_under_load_with_a_process_killed_at_every_phase(
    start: Start, pool: Pool, db: Connection, database_url: str, model: ScriptedServer, tmp_path: Path
) -> None:
    async with start() as older:
        threads = [(await older.client.post("/threads"))["id"] for _ in range(8)]
        load = Load(threads[:4])
        load.clients.append(older.client)
        async with asyncio.TaskGroup() as group:
            for id in threads[:4]:
                load.tasks += [group.create_task(load.write(id)), group.create_task(load.read(id))]
            for id in threads[4:]:
                await older.client.post(f"/threads/{id}/messages", {"role": "user", "content": "before"})
            await _upgrade(older.client, load, db, environment_of(database_url, model, tmp_path / "data"))
    for id, acknowledged in load.acknowledged.items():
        for table in ("messages", TABLE):
            rows = await db.fetch(f"SELECT message_id FROM {table} WHERE thread_id = $1", id)
            assert {row["message_id"] for row in rows} >= set(acknowledged)
    assert load.reads > 20
    with pytest.MonkeyPatch.context() as patch:
        install(patch)
        ids = [id async for id, _ in rebuild.list_streams(db)]
        assert (await rebuild.compare(db, ids, {TABLE, *rebuild.ALL_VIEWS}))[1] == []
    clear_caches()


async def _upgrade(older: Client, load: Load, db: Connection, environment: dict[str, str]) -> None:
    """Migrates, starts newer servers of which each but the last one kills itself, and writes through the last one."""
    await db.execute(MIGRATION)
    await _until(lambda: _is_outdated(older))
    assert (await older.call("POST", "/threads", {})).status == 503
    for phase in PHASES:
        newer = ForkedCommand(["serve"], environment | {KILL_AT: phase}, prepare=prepare_server)
        assert await asyncio.to_thread(newer.wait, START_S) == -9
        assert await db.fetchval("SELECT state FROM view_generations") == (
            "live" if phase == "after live" else "building"
        )
    async with ForkedServer(environment, prepare=prepare_server) as server, Client(server.base_url) as client:
        counts = {id: len(ids) for id, ids in load.acknowledged.items()}
        load.clients.append(client)
        await _until(lambda: _has_written(load, counts))
        assert (await older.call("POST", "/threads", {})).status == 503
        await load.end()


async def _is_outdated(client: Client) -> bool:
    async with client.session.get(client.base_url.removesuffix("/v1") + "/healthz") as answer:
        health = await answer.json()
    return answer.status == 503 and "a newer version of Everthread" in health["upgrade"]


async def _has_written(load: Load, counts: dict[str, int]) -> bool:
    return all(len(load.acknowledged[id]) >= count + 5 for id, count in counts.items())


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(START_S):
        while not await condition():
            await asyncio.sleep(0.05)
