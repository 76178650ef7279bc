"""A new shape of a view beside the old: appends write both, a fill completes it, and old software stops writing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from events import event_log
from events.errors import DomainError
from events.streams import THREAD
from events.thread.commands import DeleteMessage, DeleteThread, ModifyMessage, ThreadCommand
from projections import generations, messages, mixes, rebuild
from projections.rows import Cursor
from service.database import Pool
from service.replay import generation_fill
from service.replay.generation_fill import GenerationFill
from sql.connection import Connection
from sql.row_operations import OutdatedSoftware, compose
from tests.client import KEY, Client
from tests.crash.conftest import Start, start
from tests.events.thread.histories import World
from tests.events.thread.story import add
from tests.forked import ForkedCommand, ForkedServer
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


async def test_a_generation_with_a_broken_stream_is_not_live(
    pool: Pool, db: Connection, database_url: str, newer_software: None
) -> None:
    await db.execute(MIGRATION)
    await make_thread(writer(pool), "thread_1", "one", "two")
    await db.execute("DELETE FROM events WHERE version = 2")
    fill = GenerationFill(pool, database_url)
    await fill.scan()
    assert "thread_1 cannot be rebuilt" in str(await fill.check_health())
    assert not generations.is_live("messages", 2)


def environment_of(database_url: str, model: ScriptedServer, data: Path) -> dict[str, str]:
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith("EVERTHREAD_")},
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
