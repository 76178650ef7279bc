"""Acts of many callers of several processes at once: none is refused, and each is durable for its caller."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import asyncpg
import pytest

from events import event_log
from events.actors import KeyActor
from events.clients import ClientFacts
from events.envelope import EffectCounter, Origin
from events.installation import INSTALLATION_ID
from service.audit import acts
from service.audit.acts import ActRecorder
from service.audit.clients import ClientRecorder
from service.database import DATABASE_ERRORS, DatabaseBusy, Pool, open_pool
from service.system import RandomIds
from service.tasks.background import background
from tests.audit.test_verification import verify
from tests.clock import CLOCK
from tests.http.keys import writer

CALLERS, ACTS, PROCESSES = 16, 20, 4


def recorder_of(pool: Pool, process: int) -> ActRecorder:
    clients = ClientRecorder(pool, keep_days=1, clock=CLOCK, ids=RandomIds())
    return ActRecorder(writer(pool), clients, process=process)


async def objects_of(pool: Pool) -> list[str]:
    """Returns the objects of the tokens in the log, in order, and checks that the versions have no gap."""
    found, after = list[str](), 0
    async with pool.acquire() as db:
        while page := await event_log.read(db, INSTALLATION_ID, after=after):
            assert [entry.version for entry in page] == [*range(after + 1, after + len(page) + 1)]
            after = page[-1].version
            found += [entry.event.object_id for entry in page if entry.event.type == "token.created"]
    return found


async def test_no_act_is_refused(pool: Pool, database_url: str) -> None:
    pools = [await open_pool(database_url) for _ in range(PROCESSES)]
    recorders = [recorder_of(each, number) for number, each in enumerate(pools, start=1)]
    try:
        await recorders[0].start({}, installation="one")

        async def call(recorder: ActRecorder, caller: str) -> None:
            for number in range(ACTS):
                origin = Origin("proj_1", KeyActor(f"key_{caller}"), f"req_{caller}_{number}")
                await recorder.record_token(origin, "stream", f"{caller}.{number}", 1)

        async with background(*(recorder.run_writes() for recorder in recorders)), asyncio.TaskGroup() as callers:
            for process, recorder in enumerate(recorders):
                for caller in range(CALLERS):
                    callers.create_task(call(recorder, f"{process}.{caller}"))
    finally:
        for each in pools:
            each.terminate()
    found = await objects_of(pool)
    assert len(found) == len(set(found)) == PROCESSES * CALLERS * ACTS
    for process in range(PROCESSES):
        for caller in range(CALLERS):
            own = [each for each in found if each.startswith(f"{process}.{caller}.")]
            assert own == [f"{process}.{caller}.{number}" for number in range(ACTS)]
    assert await verify(database_url) == []


async def test_acts_that_wait_together_are_one_append_in_their_order(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acts, "MAX_GROUP", 8)
    recorder = recorder_of(pool, 1)
    await recorder.start({}, installation="one")
    origins = [Origin("proj_1", KeyActor(f"key_{number}"), f"req_{number}") for number in range(20)]
    async with asyncio.TaskGroup() as callers:
        writes = [
            callers.create_task(recorder.record_token(origin, "file", str(number), 1))
            for number, origin in enumerate(origins)
        ]
        await asyncio.sleep(0)
        async with background(recorder.run_writes()):
            await asyncio.gather(*writes)
    assert await objects_of(pool) == [str(number) for number in range(20)]
    async with pool.acquire() as db:
        rows = await db.fetch(
            "SELECT xid, actor, request_id, count(*) OVER (PARTITION BY xid) AS together FROM events"
            " WHERE type = 'token.created' ORDER BY version"
        )
        assert [row["together"] for row in rows] == [8] * 16 + [4] * 4
        assert [(row["actor"], row["request_id"]) for row in rows] == [
            (f"key:key_{number}", f"req_{number}") for number in range(20)
        ]
        assert await db.fetchval("SELECT count(*) FROM log_pending WHERE stream_id = 'installation'") >= 20


async def test_an_act_of_a_repeated_request_is_recorded_once(pool: Pool) -> None:
    recorder = recorder_of(pool, 1)
    await recorder.start({}, installation="one")
    origin = Origin("proj_1", KeyActor("key_1"), "req_1")
    async with background(recorder.run_writes()):
        for _ in range(2):
            effects = EffectCounter(bytes(32))
            await recorder.record_token(replace(origin, effects=effects), "file", "a", 1)
            await recorder.record_token(replace(origin, effects=effects), "file", "b", 1)
    assert await objects_of(pool) == ["a", "b"]


async def test_an_act_that_cannot_be_written_fails_for_its_caller(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = recorder_of(pool, 1)
    await recorder.start({}, installation="one")
    origin = Origin("proj_1", KeyActor("key_1"), "req_1")

    async def fail(*_: object) -> None:
        raise OSError("no database")

    async with background(recorder.run_writes()):
        with monkeypatch.context() as broken:
            broken.setattr(recorder._writer, "write_group", fail)
            with pytest.raises(OSError, match="no database"):
                await recorder.record_token(origin, "file", "a", 1)
        await recorder.record_token(origin, "file", "b", 1)
        monkeypatch.setattr(acts, "MAX_WAITING", 0)
        with pytest.raises(DatabaseBusy):
            await recorder.record_token(origin, "file", "c", 1)
    assert await objects_of(pool) == ["b"]


async def test_an_unexpected_error_of_the_database_does_not_end_the_server(pool: Pool) -> None:
    recorder = recorder_of(pool, 1)
    await recorder.start({}, installation="one")
    origin = Origin("proj_1", KeyActor("key_1"), "req_1")
    async with background(recorder.run_writes()):
        await pool.execute("ALTER TABLE log_pending RENAME TO log_pending_of_old")
        with pytest.raises(asyncpg.UndefinedTableError):
            await recorder.record_token(origin, "file", "first", 1)
        recorder.count_failed_sign_in("key", "192.0.2.1", "req_2", ClientFacts(None))
        await recorder.write_counts()
        await pool.execute("ALTER TABLE log_pending_of_old RENAME TO log_pending")
        await recorder.record_token(origin, "file", "second", 1)
        await recorder.write_counts()
    assert await objects_of(pool) == ["second"]
    assert await pool.fetchval("SELECT count(*) FROM events WHERE type = 'sign_ins.failed'") == 1


async def test_a_process_that_freezes_while_it_writes_acts_does_not_stop_the_others(
    pool: Pool, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log, "MAX_LOCKED_IDLE_MS", 200)
    recorder = recorder_of(pool, 1)
    await recorder.start({}, installation="one")
    frozen = await open_pool(database_url)
    try:
        async with frozen.acquire() as db:
            transaction = db.transaction()
            await transaction.start()
            await event_log.lock_head(db, INSTALLATION_ID)
            async with background(recorder.run_writes()):
                await recorder.record_token(Origin("proj_1", KeyActor("key_1"), "req_1"), "file", "file", 1)
            with pytest.raises(DATABASE_ERRORS):
                await transaction.commit()
    finally:
        frozen.terminate()
    assert await objects_of(pool) == ["file"]
