"""The statements of appends are few, valid, and enough; blocks that have nothing to do change nothing."""

from __future__ import annotations

from random import Random

import pytest

from events.errors import DomainError
from events.event_log import number_events, view_epoch
from events.streams import ASSISTANT, THREAD
from projections.mixes import MIXES, Mix, find_mix
from projections.views import row_operations
from sql.connection import Connection
from sql.row_operations import RowOperation, block_names, compose, execute_at_once, parameter_count
from tests.clock import CLOCK
from tests.events.thread.histories import World
from tests.fixtures.postgres import ENCRYPTED
from tests.projections.helpers import ORIGIN

MAX_STATEMENTS = 32
STATEMENTS = [mix for mixes in MIXES.values() for mix in mixes]


def test_statements_are_few() -> None:
    assert len(STATEMENTS) == len(set(STATEMENTS)) <= MAX_STATEMENTS


@pytest.mark.parametrize("mix", STATEMENTS, ids=" ".join)
async def test_every_statement_prepares(db: Connection, mix: Mix) -> None:
    statement = await db.prepare(compose(mix))
    assert len(statement.get_parameters()) == sum(map(parameter_count, mix))


def test_a_mix_is_the_first_one_with_all_blocks() -> None:
    log = ("streams.move", "events.insert", "log_pending.insert")
    assert find_mix(THREAD, log) == log
    both = find_mix(THREAD, (*log, "runs.patch", "threads.modify"))
    assert both is not None
    assert "runs.patch_many" in both
    assert find_mix(ASSISTANT, ("streams.move", "runs.patch")) is None


@pytest.mark.parametrize("seed", range(20))
def test_every_append_of_random_histories_has_a_statement(seed: int) -> None:
    world = World(Random(seed), "thread_1", lifetimes=(0, 600, 600, 600))
    for _ in range(150):
        before, version = world.state, len(world.log)
        try:
            events = THREAD.decide(before, world.next_command(), CLOCK.now())
        except DomainError:
            continue
        if events:
            recorded = number_events("thread_1", version, events, CLOCK.now(), ORIGIN)
            world.absorb(recorded)
            operations = row_operations(THREAD, recorded, before)
            head = "streams.move" if version else "streams.open"
            needed = (
                head,
                "events.insert",
                "log_pending.insert",
                "webhook_deliveries.insert",
                *block_names(operations),
            )
            # A deleted thread is created again only here.
            assert find_mix(THREAD, needed) is not None or "threads.insert" in needed, needed


@pytest.mark.parametrize("mix", [mixes[-1] for mixes in MIXES.values()], ids=" ".join)
async def test_a_block_without_an_operation_does_nothing(db: Connection, mix: Mix) -> None:
    await db.execute(
        "INSERT INTO streams (stream_id, kind, project_id, version, at, state_schema, state, leaf, view_epoch)"
        " VALUES ('thread_1', 'thread', 'proj_1', 1, now(), 1, '{}', '', $1)",
        epoch := view_epoch(is_encrypted=ENCRYPTED),
    )
    move = RowOperation("streams.move", ("thread_1", 1, b"", 0, 2, CLOCK.now(), 1, b"{}", b"leaf", epoch, "thread"))
    await execute_at_once(db, mix, [move])
    assert await db.fetchval("SELECT version FROM streams") == 2
    tables = ("events", "threads", "messages", "runs", "active_runs", "steps", "assistants", "files", "metadata_pairs")
    for table in (*tables, "log_pending", "webhook_deliveries", "idempotency_effects"):
        assert await db.fetchval(f"SELECT count(*) FROM {table}") == 0
