"""The twins answer as Postgres does: random histories and queries, with each statement sent to both.

Statements alone are compared. A serial store cannot show the anomalies of Postgres' snapshots: those have tests of
their own (tests/projections/test_writer.py, tests/audit/test_sequencer.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from events.envelope import EffectCounter, Origin
from events.errors import DomainError
from events.streams import WEBHOOK_ENDPOINT
from events.webhook_endpoint import WEBHOOK_EVENTS, CreateEndpoint
from projections.rebuild import verify
from service.audit.sequencer import seal_batch
from service.database import Pool, connect
from service.feed import Feed
from service.writer import Writer
from sql import queries
from sql.connection import Connection
from tests.clock import CLOCK, IDS
from tests.events.thread.histories import World
from tests.projections.helpers import ORIGIN
from tests.projections.test_vector_stores import CREATE, FILES, make_files, random_command
from tests.simulation import appends
from tests.simulation.connection import Network, SimulatedConnection
from tests.simulation.mirror import MirrorConnection
from tests.simulation.store import Store
from tests.simulation.twins import NAMES, QUERIES

COMMANDS = 70
PROCESSES = (1, 2, 3)
MANY = 1000
SIZE = 4 * 1024**2
BEGINNING = datetime(1, 1, 1, tzinfo=UTC)
THREAD_BLOCKS = {"threads", "messages", "runs", "active_runs", "steps"}


class Mirror:
    """A writer over Postgres and the store, and the answers with rows by statement."""

    def __init__(self, url: str) -> None:
        self.answers: Counter[str] = Counter()
        self._url = url
        self.store = Store(CLOCK.now(), lambda: 0.0)
        self.pool = Pool(self.connect, min_size=1, max_size=2)
        self.writer = Writer(self.pool, Feed(), clock=CLOCK, ids=IDS)

    async def connect(self) -> Any:
        simulated = SimulatedConnection(self.store.open_session(), Network())
        return MirrorConnection(await connect(self._url), simulated, self.answers)

    async def ask(self, file: str, name: str, *values: Any) -> list[Any]:
        """Sends a query, and compares the answers."""
        async with self.pool.acquire() as db:
            found: list[Any] = await db.fetch(queries(file)[name], *values)
            return found


@pytest.fixture
async def mirror(database_url: str, db: Connection) -> AsyncIterator[Mirror]:
    made = Mirror(database_url)
    made.store.epochs = [dict(row) for row in await db.fetch("SELECT epoch, origin, first_index FROM log_epochs")]
    yield made
    await made.pool.close()


@pytest.mark.parametrize("seed", range(6))
async def test_threads(mirror: Mirror, db: Connection, seed: int) -> None:
    world = World(Random(seed), "thread_1", lifetimes=(0, 600, 600, 600))
    await _create_endpoint(mirror)
    for number in range(COMMANDS):
        command = world.next_command()
        try:
            written = await mirror.writer.thread(_origin(number), "thread_1", command)
        except DomainError:
            continue
        world.absorb(written.recorded)
        if number % 5 == 0:
            await _ask_about_threads(mirror, world)
            await _deliver(mirror)
            async with mirror.pool.acquire() as mirrored:
                await seal_batch(mirrored, limit=world.random.choice((2, MANY)))
    assert await verify(db, "thread_1") == []
    for statement in ("read_types", "read", "head", "versions"):
        assert mirror.answers[queries("event_log")[statement]]


async def _create_endpoint(mirror: Mirror) -> None:
    command = CreateEndpoint("https://example.com", None, tuple(WEBHOOK_EVENTS.values()))
    await mirror.ask("webhooks", "prepare", "we_1", b"whsec_1")
    await mirror.writer.write(WEBHOOK_ENDPOINT, ORIGIN, "we_1", command)


def _origin(number: int) -> Origin:
    """Returns an origin; that of every third command has an Idempotency-Key."""
    effects = EffectCounter(number.to_bytes(32)) if number % 3 == 0 else None
    return Origin(ORIGIN.project_id, ORIGIN.actor, request_id=f"req_{number}", effects=effects)


async def _ask_about_threads(mirror: Mirror, world: World) -> None:
    random, last, project = world.random, len(world.log), "proj_1"
    steps = [entry.event.step_id for entry in world.log if entry.event.type == "step.created"]
    await mirror.ask("event_log", "versions", ["thread_1", "thread_2"])
    for limit, size in ((3, SIZE), (MANY, 700), (MANY, SIZE)):
        await mirror.ask("event_log", "read", "thread_1", random.randrange(last + 1), limit, size)
        types = random.sample([entry.event.type for entry in world.log], min(4, last))
        await mirror.ask("event_log", "read_types", "thread_1", 0, random.randrange(last + 1), types, limit, size)
        for run_id in (*world.runs, "run_none"):
            await mirror.ask("messages", "newest", "thread_1", run_id, None, None, limit, size)
            place = random.randrange(last + 1)
            await mirror.ask("messages", "newest", "thread_1", run_id, place, place + 2, limit, size)
        await mirror.ask("steps", "tool_call_steps", "thread_1", random.randrange(9), None, limit, size)
        await mirror.ask("steps", "tool_call_steps", "thread_1", 0, random.randrange(last + 1), limit, size)
    await mirror.ask("messages", "first", "thread_1")
    await mirror.ask("threads", "get", "thread_1", random.choice((project, "proj_2")))
    await mirror.ask("active_runs", "active_since", "thread_1", project)
    await mirror.ask("active_runs", "next_expiry")
    for message_id in (*list(world.messages)[:3], "msg_none"):
        await mirror.ask("messages", "get", "thread_1", message_id, project)
    for run_id in world.runs:
        await mirror.ask("runs", "get", "thread_1", run_id, project)
        await mirror.ask("webhooks", "run_position", "thread_1", run_id)
        for step_id in steps[:3]:
            await mirror.ask("steps", "get", "thread_1", run_id, step_id, project)
    await mirror.ask("peers", "holders")
    for process in PROCESSES:
        await mirror.ask("active_runs", "find_held", process, list(world.runs)[:1], MANY)
        await mirror.ask("active_runs", "find_unowned", [process], MANY)
    at = int(world.at.timestamp())
    for moment in (at, at + 10**9):
        await mirror.ask("active_runs", "find_overdue", moment, MANY)


async def _deliver(mirror: Mirror) -> None:
    """Works through the outbox as a courier does, with failures."""
    await mirror.ask("webhooks", "has_endpoints")
    await mirror.ask("webhooks", "project_of", "we_1")
    await mirror.ask("webhooks", "find_idle", [1], ["we_2"], MANY)
    await mirror.ask("webhooks", "claim", "we_1", 2, None)
    await mirror.ask("webhooks", "claim", "we_1", 3, 1)
    await mirror.ask("webhooks", "load_claimed", "we_1", 2)
    await mirror.ask("webhooks", "find_overloaded", 3)
    due = await mirror.ask("webhooks", "find_due", "we_1", ["thread_2"], MANY, MANY)
    for row in due:
        key = ("we_1", row["stream_id"], row["version"])
        match row["version"] % 3:
            case 0:
                await mirror.ask("webhooks", "postpone", *key, -1.0)
                await mirror.ask("webhooks", "record_failure", "we_1", b"it broke", -5.0, -2.0)
            case 1:
                await mirror.ask("webhooks", "discard", *key)
            case _:
                await mirror.ask("webhooks", "discard", *key)
                await mirror.ask("webhooks", "record_success", "we_1")
    await mirror.ask("webhooks", "release", "we_1", 2)
    for name in ("forget_secrets", "drop_work"):
        await mirror.ask("webhooks", name)
    await mirror.ask("webhooks", "find_dead")
    await mirror.ask("webhooks", "drop_deliveries", ["we_1", "we_2"], MANY)


async def test_the_log(mirror: Mirror, db: Connection) -> None:
    """The sequencer's queries, with gaps and with two sequencers at once."""
    world = World(Random(1), "thread_1", lifetimes=(600,))
    for number in range(30):
        try:
            world.absorb((await mirror.writer.thread(_origin(number), "thread_1", world.next_command())).recorded)
        except DomainError:
            continue
    for name, values in (("oldest", ()), ("end", ()), ("waiting", ("thread_1",)), ("waiting_count", (3,))):
        await mirror.ask("sequencer", name, *values)
    rows = await mirror.ask("sequencer", "pending", BEGINNING, "", 0, MANY)
    lost = rows[1]
    await mirror.ask("sequencer", "delete", [lost["at"]], ["thread_1"], [lost["first_version"]])
    async with mirror.pool.acquire() as mirrored:
        await seal_batch(mirrored)
        await mirrored.execute(
            queries("sequencer")["fill_gap"], rows[2]["at"], "thread_1", 1, rows[2]["first_version"], 10
        )
        await seal_batch(mirrored)
    await mirror.ask("sequencer", "versions", ["thread_1", "thread_2"])
    await mirror.ask("sequencer", "end")
    again = [[0], [1], [CLOCK.now()], ["thread_9"], [1], ["proj_1"], ["cli"], [None], ["thread.created"], [b"." * 32]]
    with pytest.raises(Exception, match=r"sealed|unique"):
        await mirror.ask("sequencer", "seal", *again, None, None, None)
    await mirror.ask("view_generations", "newest_epoch")


async def test_the_peers(mirror: Mirror) -> None:
    for process in (1, 2):
        await mirror.ask("peers", "hold", 77, process)
    await mirror.ask("peers", "keepalive")
    await mirror.ask("peers", "live", 77)
    await mirror.ask("peers", "release", 77, 1)
    await mirror.ask("peers", "release", 77, 5)
    await mirror.ask("peers", "live", 77)
    await mirror.ask("peers", "server_age")
    await mirror.ask("peers", "notify", "everthread", "1 thread_1")


async def test_idempotency_keys(mirror: Mirror) -> None:
    random, at = Random(3), CLOCK.now()
    tokens, seeds = (b"t1", b"t2"), (b"s" * 32, b"z" * 32)
    for number in range(200):
        token, seed, now = random.choice(tokens), random.choice(seeds), at + timedelta(seconds=number // 20)
        before = at + timedelta(seconds=random.randrange(10))
        statements: list[tuple[str, tuple[Any, ...]]] = [
            ("claim", (token, seed, now, b"r", random.choice((None, b"b")), 1, before - timedelta(hours=1))),
            ("claim", (token, seed, now, b"r", b"b", 2, before)),
            ("find", (token,)),
            ("answer", (token, seed)),
            ("take", (token, seed, random.choice((None, 1, 2)), 3, now, b"r", b"b", before)),
            ("tell_body", (token, seed, b"c")),
            ("finish", (token, seed, before, 200, "{}", b"done", None)),
            ("has_effect", (seed,)),
            ("release", (token, seed, before, random.random() < 0.5)),
            ("effect", ("thread_1", seed, 0)),
        ]
        if number % 50 == 49:
            statements = [("expire_keys", (before, MANY)), ("expire_effects", (at, MANY))]
        name, values = random.choice(statements)
        await mirror.ask("idempotency", name, *values)


async def test_vector_stores(mirror: Mirror, db: Connection) -> None:
    """The histories of tests/projections/test_vector_stores.py, which compares the views with the log."""
    stores, random = ("vs_1", "vs_2"), Random(5)
    await make_files(mirror.writer)
    for store_id in stores:
        await mirror.writer.vector_store(ORIGIN, store_id, CREATE)
    for number in range(90):
        store_id, now = random.choice(stores), int(CLOCK.now().timestamp())
        with suppress(DomainError):
            await mirror.writer.vector_store(ORIGIN, store_id, random_command(random, store_id))
        if number % 3:
            continue
        await mirror.ask("vector_stores", "get", store_id, "proj_1")
        await mirror.ask("vector_store_files", "facts", store_id, FILES)
        await mirror.ask("vector_store_files", "find_overdue", now + 10**6, MANY)
        for process in (1, 7):
            await mirror.ask("vector_store_files", "find_held", process, MANY)
            for first, each in (("vs_0", 2), ("vs_15", 50)):
                await mirror.ask("vector_store_files", "find_waiting", [process], MANY, first, each)
        await mirror.ask("peers", "holders")
        await mirror.ask("files", "find", [*FILES, "file-none"], "proj_1", now)
        await mirror.ask("files", "get", random.choice(FILES), "proj_1", now)
    for name in ("find_held", "find_waiting", "find_overdue", "facts"):
        assert mirror.answers[queries("vector_store_files")[name]], name
    for store_id in stores:
        assert await verify(db, store_id) == []


def test_the_twins_of_queries_are_in_the_tests_above() -> None:
    text = Path(__file__).read_text()
    for file, names in NAMES.items():
        for name in names:
            if (file, name) != ("event_log", "head"):
                assert f'"{name}"' in text, f"the twin of {file}.{name} is compared with nothing"
    assert len(QUERIES) == sum(map(len, NAMES.values()))


def test_every_mix_has_a_twin() -> None:
    assert appends.statements()
