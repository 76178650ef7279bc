"""The outbox holds exactly the events of the log, and every message shows its run as of its event."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from events.errors import DomainError
from events.streams import WEBHOOK_ENDPOINT
from events.webhook_endpoint import WEBHOOK_EVENTS, CreateEndpoint, DeleteEndpoint, DisableEndpoint, ModifyEndpoint
from projections import runs, webhooks
from projections.rebuild import as_of, rebuild, verify
from projections.webhooks import Delivery, IdleEndpoint
from service.database import Pool
from service.wire.webhooks import EventName
from service.writer import Writer
from sql.connection import Connection
from tests.events.thread.histories import World
from tests.events.thread.story import CREATE, claim, finish, run
from tests.projections.helpers import ORIGIN, OTHER, writer

ALL = tuple(WEBHOOK_EVENTS.values())
COMMANDS = 80


async def make_endpoint(write: Writer, db: Connection, id: str, events: Any = ALL, origin: Any = ORIGIN) -> None:
    await webhooks.prepare_secret(db, id, "whsec_x")
    await write.write(WEBHOOK_ENDPOINT, origin, id, CreateEndpoint("https://example.com/", None, tuple(events)))


async def outbox(db: Connection, endpoint_id: str) -> list[tuple[str, int]]:
    rows = await db.fetch(
        "SELECT stream_id, version FROM webhook_deliveries WHERE endpoint_id = $1 ORDER BY stream_id, version",
        endpoint_id,
    )
    return [tuple(row) for row in rows]


def test_the_names_of_requests_are_those_of_events() -> None:
    assert EventName.__args__ == ALL  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 2, 3, 4])
async def test_the_outbox_is_the_log(pool: Pool, db: Connection, seed: int) -> None:
    write = writer(pool)
    await make_endpoint(write, db, "we_all")
    await make_endpoint(write, db, "we_some", ["thread.run.completed", "thread.run.failed"])
    await make_endpoint(write, db, "we_theirs", origin=OTHER)
    world = World(Random(seed), f"thread_{seed}", lifetimes=(0, 600, 600))
    for _ in range(COMMANDS):
        try:
            written = await write.thread(ORIGIN, world.state.id, world.next_command())
        except DomainError:
            continue
        world.absorb(written.recorded)
    expected = [(entry.stream_id, entry.version) for entry in world.log if entry.event.type in WEBHOOK_EVENTS]
    ends = [(e.stream_id, e.version) for e in world.log if e.event.type in ("run.completed", "run.failed")]
    assert expected
    assert await outbox(db, "we_all") == expected
    assert await outbox(db, "we_some") == ends
    assert await outbox(db, "we_theirs") == []
    # A rebuild restores views, not deliveries.
    await rebuild(db, [world.state.id])
    assert await verify(db, world.state.id) == []
    assert await outbox(db, "we_all") == expected
    for stream_id, version in expected:
        found = await webhooks.load_event_and_run(db, stream_id, version)
        assert found is not None
        assert found[0].version == version
        async with as_of(db, stream_id, version):
            assert found[1] == await runs.get(db, "proj_1", stream_id, found[1].id)


async def test_a_run_in_a_log_longer_than_a_page(pool: Pool, db: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    write = writer(pool)
    await write.thread(ORIGIN, "thread_1", CREATE)
    for number in range(3):
        await write.thread(ORIGIN, "thread_1", run(f"run_{number}", claim(first=str(number))))
        await write.thread(ORIGIN, "thread_1", finish("Hello.", run_id=f"run_{number}"))
    last = await db.fetchval("SELECT max(version) FROM events WHERE stream_id = 'thread_1'")
    whole = await webhooks.load_event_and_run(db, "thread_1", last)
    # Without the view, as after the thread's deletion, the event is found by reading the whole log.
    await db.execute("DELETE FROM runs")
    assert await webhooks.load_event_and_run(db, "thread_1", last) == whole
    assert whole is not None
    assert (whole[1].id, whole[1].status) == ("run_2", "completed")
    assert await webhooks.load_event_and_run(db, "thread_1", 1) is None
    assert await webhooks.load_event_and_run(db, "thread_1", last + 1) is None


async def test_disabled_and_deleted_endpoints_get_nothing_more(pool: Pool, db: Connection) -> None:
    write = writer(pool)
    await make_endpoint(write, db, "we_1")
    await make_endpoint(write, db, "we_2")
    await write.thread(ORIGIN, "thread_1", CREATE)
    await write.write(WEBHOOK_ENDPOINT, ORIGIN, "we_1", DisableEndpoint("Why not."))
    assert not (await write.write(WEBHOOK_ENDPOINT, ORIGIN, "we_1", DisableEndpoint("Again."))).recorded
    await write.thread(ORIGIN, "thread_1", run())
    assert (len(await outbox(db, "we_1")), len(await outbox(db, "we_2"))) == (0, 1)
    await write.write(WEBHOOK_ENDPOINT, ORIGIN, "we_2", DeleteEndpoint())
    await write.write(WEBHOOK_ENDPOINT, ORIGIN, "we_1", ModifyEndpoint({"status": "enabled"}))
    await webhooks.drop_dead(db, 100)
    assert await outbox(db, "we_2") == []
    assert await webhooks.load_secrets(db, "we_2") is not None, "an hour, for endpoints that are just being made"
    await db.execute("UPDATE webhook_work SET made_at = now() - interval '2 h'")
    await webhooks.drop_dead(db, 100)
    assert await webhooks.load_secrets(db, "we_2") is None
    assert await webhooks.load_secrets(db, "we_1") is not None
    for id in ("we_1", "we_2"):
        assert await verify(db, id) == []


async def test_claims_and_what_is_due(pool: Pool, db: Connection) -> None:
    """Only the first delivery of each thread is due, the oldest threads first, and none while the endpoint rests."""
    write = writer(pool)
    await make_endpoint(write, db, "we_1")
    for thread in ("thread_b", "thread_a"):
        await write.thread(ORIGIN, thread, CREATE)
        await write.thread(ORIGIN, thread, run(claim=claim()))
    assert await webhooks.find_idle(db, [], [], 10) == [IdleEndpoint("we_1", None, failing=False)]
    assert await webhooks.find_idle(db, [], ["we_1"], 10) == []
    assert await webhooks.claim(db, IdleEndpoint("we_1", None, failing=False), 7)
    assert not await webhooks.claim(db, IdleEndpoint("we_1", None, failing=False), 8), "another one was quicker"
    assert await webhooks.find_idle(db, [7], [], 10) == []
    assert await webhooks.find_idle(db, [8], [], 10) == [IdleEndpoint("we_1", 7, failing=False)]
    work = await webhooks.load_claimed(db, "we_1", 7)
    assert work is not None
    assert work.ready
    assert "whsec" not in repr(work)
    assert await webhooks.load_claimed(db, "we_1", 8) is None
    first, second = await webhooks.find_due(db, "we_1", [], 10)
    assert [first, second] == [Delivery("we_1", "thread_b", 2, 0), Delivery("we_1", "thread_a", 2, 0)]
    assert await webhooks.find_due(db, "we_1", ["thread_b"], 10) == [second]
    assert await webhooks.find_due(db, "we_1", [], 1) == [first]
    failures, seconds = await webhooks.record_failure(db, first, 600, "it broke", rest=600, longest_rest=3600)
    assert (failures, seconds) == (1, 0.0)
    # A postponed delivery lets the next one of its thread pass after the endpoint's rest.
    assert replace(first, version=4) in await webhooks.find_due(db, "we_1", [], 10)
    resting = await webhooks.load_claimed(db, "we_1", 7)
    assert resting is not None
    assert not resting.ready
    await webhooks.release(db, "we_1", 7)
    assert await webhooks.find_idle(db, [], [], 10) == []
    await webhooks.record_delivery(db, second)
    assert await webhooks.find_idle(db, [], [], 10) == [IdleEndpoint("we_1", None, failing=False)], (
        "it takes messages again: no more rest"
    )
    assert await webhooks.count_pending(db, 2) == 2
    assert await webhooks.find_overloaded(db, 3) == ["we_1"]
    assert await webhooks.find_overloaded(db, 4) == []


async def test_those_that_take_what_they_are_sent_come_first(pool: Pool, db: Connection) -> None:
    write = writer(pool)
    for id in ("we_1", "we_2", "we_3"):
        await make_endpoint(write, db, id)
    await write.thread(ORIGIN, "thread_1", CREATE)
    await write.thread(ORIGIN, "thread_1", run())
    for id, failures, rested in (("we_1", 2, 50), ("we_2", 0, 10), ("we_3", 0, 20)):
        await db.execute(
            "UPDATE webhook_work SET failures = $2, rests_until = now() - $3 * interval '1 s' WHERE endpoint_id = $1",
            id,
            failures,
            rested,
        )
    ready = [
        IdleEndpoint("we_3", None, failing=False),
        IdleEndpoint("we_2", None, failing=False),
        IdleEndpoint("we_1", None, failing=True),
    ]
    assert await webhooks.find_idle(db, [], [], 10) == ready
    assert await webhooks.find_idle(db, [], [], 2) == ready[:2]
