"""A writer over the test's database, and helpers that fill it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from events.actors import CommandLineActor
from events.assistant import CreateAssistant
from events.clock import Clock
from events.envelope import Origin
from events.objects import Assistant
from projections.row_store.tables import PRIMARY_KEYS
from service.database import Pool
from service.feed import Feed
from service.writer import Writer
from sql.connection import Connection
from tests.clock import CLOCK, IDS
from tests.events.thread.story import CREATE, add
from tests.sealed import opened

ORIGIN = Origin(project_id="proj_1", actor=CommandLineActor(), request_id="req_1")
OTHER = Origin(project_id="proj_2", actor=CommandLineActor(), request_id="req_2")


def writer(pool: Pool, clock: Clock = CLOCK) -> Writer:
    return Writer(pool, Feed(), clock=clock, ids=IDS)


def assistant_settings(**changes: Any) -> dict[str, Any]:
    made = Assistant(
        id="",
        created_at=0,
        model="gpt-test",
        name="Tutor",
        description=None,
        instructions="Be brief.",
        tools=[],
        tool_resources={},
        metadata={},
        temperature=1.0,
        top_p=1.0,
        response_format="auto",
        reasoning_effort=None,
    )
    settings = asdict(made) | changes
    del settings["id"], settings["created_at"]
    return settings


async def make_assistant(write: Writer, id: str, origin: Origin = ORIGIN, **changes: Any) -> None:
    await write.assistant(origin, id, CreateAssistant(assistant_settings(**changes)))


async def make_thread(write: Writer, id: str = "thread_1", *texts: str, origin: Origin = ORIGIN) -> None:
    """Creates a thread whose messages are msg_1, msg_2, …"""
    await write.thread(origin, id, CREATE)
    for number, text in enumerate(texts, start=1):
        await write.thread(origin, id, add(text, f"msg_{number}"))


async def served_rows(db: Connection, stream_id: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Returns the rows that Postgres holds for a stream in all views, by view and id."""
    rows = {}
    for table, key in PRIMARY_KEYS.items():
        for row in await db.fetch(opened(f"SELECT * FROM {table} WHERE {key[0]} = $1", table), stream_id):
            rows[table, str(row[key[-1]])] = dict(row)
    return rows
