"""Holds and policies: what they keep is never destroyed, all else is, whatever step a process dies at."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from events import event_log
from events.errors import NotFound, Rejection
from events.thread.commands import DeleteThread, ModifyThread
from projections import erasures, retention
from projections.retention import Hold, Policy
from service.database import connect, open_pool
from service.erasure import eraser as eraser_module
from service.migrations import prepare_database
from service.retention import idle as idle_module
from service.retention.idle import IdleThreads
from service.retention.operations import HoldRequest, Retention
from service.retention.release import Releaser
from service.retention.rules import covers, idle_since, kept_until
from service.secrets.encryption import begin_encryption
from service.secrets.key_ring import RING, new_secret
from service.secrets.key_source import EncryptionKeySource
from tests.clock import IDS, WallClock
from tests.erasure.test_eraser import Death, Installation, breaking
from tests.events.thread.story import add
from tests.fixtures.postgres import empty_database
from tests.projections.helpers import ORIGIN, make_thread

PROJECT = ORIGIN.project_id
DAY_S = 86_400


class Retained(Installation):
    """An installation whose clock a test moves, with its holds and policies."""

    @classmethod
    async def open(cls, url: str, folder: Path, clock: WallClock) -> Retained:
        made = cls(url, await open_pool(url), folder, clock)
        made.clock = clock
        made.retention = Retention(made.write)
        made.idle = IdleThreads(made.write)
        return made

    clock: WallClock
    retention: Retention
    idle: IdleThreads

    async def delete(self, thread_id: str) -> None:
        await self.write.thread(ORIGIN, thread_id, DeleteThread())

    async def hold(self, thread_id: str | None = None, metadata: dict[str, str] | None = None) -> Hold:
        asked = HoldRequest(project_id=PROJECT, reason="Case 7", thread_id=thread_id, metadata=metadata)
        return await self.retention.place_hold(ORIGIN, asked, ids=IDS)

    async def scan_idle(self) -> None:
        await self.fetch("UPDATE retention_progress SET due_at = now()")
        await self.idle.scan()

    async def scan_later(self, days: float) -> None:
        """Erases what is due after `days`, by the clock of the servers and by that of Postgres."""
        self.clock.skip(days * DAY_S)
        await self.fetch("UPDATE erasures SET due_at = now()")
        await self.scan()

    async def retire(self) -> None:
        """Deletes idle threads, and erases what is due now and after 10 days."""
        await self.scan_idle()
        for days in (0, 10):
            await self.scan_later(days)

    async def exists(self, thread_id: str) -> bool:
        return (await self.write.load_thread(thread_id)).exists


@asynccontextmanager
async def opened(postgres: str, tmp_path: Path) -> AsyncIterator[Retained]:
    """Yields an encrypted installation with a new database and a new data directory."""
    tmp_path = Path(mkdtemp(dir=tmp_path))
    async with empty_database(postgres) as url:
        await prepare_database(url)
        db = await connect(url)
        await begin_encryption(db, EncryptionKeySource(folder=tmp_path, keys="x"), [new_secret()], ring=RING)
        await db.close()
        made = await Retained.open(url, tmp_path, WallClock())
        yield made
        made.pool.terminate()


@pytest.fixture
async def retained(postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Retained]:
    monkeypatch.setattr(eraser_module, "CLAIM_S", 0.0)
    monkeypatch.setattr(idle_module, "PAGE_THREADS", 2)
    async with opened(postgres, tmp_path) as made:
        yield made


async def test_a_held_thread_is_gone_for_clients_and_kept_until_the_hold_ends(retained: Retained) -> None:
    for id in ("thread_1", "thread_2"):
        await make_thread(retained.write, id, "Hello.")
    hold = await retained.hold("thread_1")
    for id in ("thread_1", "thread_2"):
        await retained.delete(id)
    await retained.scan()
    assert (await retained.has_key("thread_1"), await retained.has_key("thread_2")) == (True, False)
    assert not await retained.exists("thread_1")
    async with retained.pool.acquire() as db:
        assert (await event_log.read(db, "thread_1"))[-1].event.type == "thread.deleted"
    ended = await retained.retention.end_hold(ORIGIN, hold.id)
    assert ended.ended_at is not None
    assert await retained.retention.end_hold(ORIGIN, hold.id) == ended
    await retained.scan()
    assert not await retained.has_key("thread_1")
    types = await retained.fetch(
        "SELECT array_agg(type ORDER BY version) FROM events WHERE stream_id = 'installation' AND type LIKE 'hold.%'"
    )
    assert types == ["hold.placed", "hold.ended"]
    assert await retained.faults() == []


async def test_a_thread_with_unreadable_metadata_is_kept_alone(retained: Retained) -> None:
    for id in ("thread_1", "thread_2"):
        await make_thread(retained.write, id, "Hello.")
    await retained.hold(metadata={"case": "7"})
    await retained.fetch(
        "UPDATE events SET content = substr(content, 1, 40) WHERE stream_id = 'thread_1' AND version = 1"
    )
    for id in ("thread_1", "thread_2"):
        await retained.delete(id)
    await retained.scan()
    assert (await retained.has_key("thread_1"), await retained.has_key("thread_2")) == (True, False)


async def test_what_a_hold_covers(retained: Retained) -> None:
    for number, metadata in enumerate(({"case": "7", "x": "y"}, {"case": "8"}, {"case": "7"}, {})):
        await make_thread(retained.write, f"thread_{number}", "Hello.")
        await retained.write.thread(ORIGIN, f"thread_{number}", ModifyThread({"metadata": metadata}))
    hold = await retained.hold(metadata={"case": "7"})
    # A client does not lift the hold by other metadata.
    await retained.write.thread(ORIGIN, "thread_2", ModifyThread({"metadata": {}}))
    for number in range(4):
        await retained.delete(f"thread_{number}")
    await retained.scan()
    kept = [await retained.has_key(f"thread_{number}") for number in range(4)]
    assert kept == [True, False, True, False]
    whole = await retained.hold()
    await retained.retention.end_hold(ORIGIN, hold.id)
    await retained.scan()
    assert await retained.has_key("thread_0")
    await retained.retention.end_hold(ORIGIN, whole.id)
    await retained.scan()
    assert not await retained.has_key("thread_0")


async def test_a_hold_names_a_thread_that_is_left(retained: Retained) -> None:
    await make_thread(retained.write, "thread_1", "Hello.")
    with pytest.raises(NotFound):
        await retained.hold("thread_none")
    await retained.delete("thread_1")
    await retained.hold("thread_1")  # deleted, and not released yet
    await retained.scan()
    assert await retained.has_key("thread_1")
    await make_thread(retained.write, "thread_2", "Hello.")
    await retained.delete("thread_2")
    await retained.scan()
    with pytest.raises(Rejection, match="its data are erased"):
        await retained.hold("thread_2")
    assert await retained.fetch("SELECT count(*) FROM legal_holds") == 1
    assert await retained.fetch("SELECT count(*) FROM events WHERE type = 'hold.placed'") == 1


async def test_a_deleted_thread_is_kept_for_the_days_of_the_policy(retained: Retained) -> None:
    await make_thread(retained.write, "thread_1", "Hello.")
    await retained.retention.set_policy(ORIGIN, Policy(PROJECT, keep_days=180))
    retained.clock.skip(100 * DAY_S)
    await retained.delete("thread_1")
    await retained.scan()
    assert await retained.has_key("thread_1")
    await retained.scan_later(79)
    assert await retained.has_key("thread_1")
    await retained.scan_later(1)
    assert not await retained.has_key("thread_1")


async def test_another_policy_counts_at_once(retained: Retained) -> None:
    await make_thread(retained.write, "thread_1", "Hello.")
    await retained.retention.set_policy(ORIGIN, Policy(PROJECT, keep_days=180))
    await retained.delete("thread_1")
    await retained.scan()
    assert await retained.has_key("thread_1")
    await retained.retention.set_policy(ORIGIN, Policy(PROJECT))
    await retained.scan()
    assert not await retained.has_key("thread_1")


async def test_idle_threads_are_deleted_and_held_and_used_ones_are_not(retained: Retained) -> None:
    for number in range(5):
        await make_thread(retained.write, f"thread_{number}", "Hello.")
    await retained.hold("thread_3")
    await retained.retention.set_policy(ORIGIN, Policy(PROJECT, idle_days=30))
    retained.clock.skip(20 * DAY_S)
    await retained.write.thread(ORIGIN, "thread_4", add("Again.", "msg_new"))
    await retained.scan_idle()
    assert [await retained.exists(f"thread_{number}") for number in range(5)] == [True] * 5
    retained.clock.skip(11 * DAY_S)
    await retained.idle.scan()  # it is not due
    assert await retained.exists("thread_0")
    await retained.scan_idle()
    assert [await retained.exists(f"thread_{number}") for number in range(5)] == [False] * 3 + [True] * 2
    causes = await retained.fetch(
        "SELECT array_agg(DISTINCT cause || ' ' || actor) FROM events WHERE type = 'thread.deleted'"
    )
    assert causes == ["retention process:sweep"]
    await retained.scan()
    assert [await retained.has_key(f"thread_{number}") for number in range(5)] == [False] * 3 + [True] * 2


async def test_a_thread_that_is_held_meanwhile_stays(retained: Retained, monkeypatch: pytest.MonkeyPatch) -> None:
    await make_thread(retained.write, "thread_1", "Hello.")
    await retained.retention.set_policy(ORIGIN, Policy(PROJECT, idle_days=30))
    retained.clock.skip(31 * DAY_S)
    found = retention.idle_threads

    async def then_hold(*arguments: Any) -> list[retention.IdleThread]:
        page = await found(*arguments)
        if page:
            await retained.hold("thread_1")
        return page

    active, looks = retention.active_holds, 0

    async def before_the_hold(db: Any, projects: Sequence[str]) -> list[Hold]:
        nonlocal looks
        looks += 1
        return [] if looks == 1 else await active(db, projects)

    monkeypatch.setattr(retention, "idle_threads", then_hold)
    monkeypatch.setattr(retention, "active_holds", before_the_hold)
    await retained.scan_idle()
    assert looks > 1
    assert await retained.exists("thread_1")


async def test_a_thread_that_gets_a_message_meanwhile_stays(
    retained: Retained, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_thread(retained.write, "thread_1", "Hello.")
    await retained.retention.set_policy(ORIGIN, Policy(PROJECT, idle_days=30))
    retained.clock.skip(31 * DAY_S)
    found = retention.last_event_at
    calls = 0

    async def then_write(db: Any, thread_id: str) -> datetime | None:
        nonlocal calls
        at = await found(db, thread_id)
        calls += 1
        if calls == 1:  # behind the look of the first attempt, by another process
            other = await Retained.open(retained.url, Path(), retained.clock)
            await other.write.thread(ORIGIN, thread_id, add("Again.", "msg_new"))
            other.pool.terminate()
        return at

    monkeypatch.setattr(retention, "last_event_at", then_write)
    await retained.scan_idle()
    assert calls == 2
    assert await retained.exists("thread_1")


STEPS: Sequence[tuple[Any, str]] = (
    (retention, "claim_idle_scan"),
    (IdleThreads, "_delete_thread"),
    (retention, "end_idle_scan"),
    (retention, "claim_unreleased"),
    (retention, "release"),
    (retention, "wait"),
    (Releaser, "release"),
    (erasures, "claim_uncleared"),
    (erasures, "destroy_key"),
)


async def test_every_step_is_repeated_after_a_crash(retained: Retained, monkeypatch: pytest.MonkeyPatch) -> None:
    await retained.retention.set_policy(ORIGIN, Policy(PROJECT, idle_days=30, keep_days=40))
    await make_thread(retained.write, "thread_held", "Hello.")
    await retained.hold("thread_held")
    await retained.delete("thread_held")
    for number, (owner, name) in enumerate([*STEPS, *STEPS]):
        id = f"thread_{number}"
        await make_thread(retained.write, id, "Hello.")
        retained.clock.skip(31 * DAY_S)
        with monkeypatch.context() as broken:
            broken.setattr(owner, name, breaking(getattr(owner, name), before=number < len(STEPS)))
            with pytest.raises(Death):
                await retained.retire()
        assert await retained.faults() == []
        await retained.retire()
        assert not await retained.has_key(id), name
        assert await retained.has_key("thread_held"), name
    deletions = await retained.fetch("SELECT count(*) FROM events WHERE type = 'thread.deleted'")
    assert deletions == 2 * len(STEPS) + 1
    assert await retained.faults() == []


AT = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = st.integers(0, 400)
PAIRS = st.dictionaries(st.sampled_from("ab"), st.sampled_from("xy"), max_size=2)


@given(history=st.lists(PAIRS, max_size=4), wanted=PAIRS, ended=st.booleans())
def test_a_hold_by_metadata_covers_what_ever_had_them(
    history: list[dict[str, str]], wanted: dict[str, str], ended: bool
) -> None:
    hold = _hold(None, wanted, AT if ended else None)
    had = any(all(metadata.get(key) == value for key, value in wanted.items()) for metadata in history)
    assert covers(hold, PROJECT, "thread_1", history) is (had and not ended)
    assert not covers(hold, "proj_2", "thread_1", history)


@given(keep=st.none() | DAYS, idle=st.none() | DAYS, age=DAYS)
def test_a_thread_is_kept_for_exactly_its_days(keep: int | None, idle: int | None, age: int) -> None:
    policy, now = Policy(PROJECT, idle, keep), AT + timedelta(days=age)
    assert (kept_until(policy, AT) <= now) is (keep is None or age >= keep)
    since = idle_since(policy, now)
    assert (since is not None and since >= AT) is (idle is not None and age >= idle)


def _hold(thread_id: str | None, metadata: dict[str, str] | None, ended_at: datetime | None) -> Hold:
    return Hold(
        id="hold_1",
        project_id=PROJECT,
        thread_id=thread_id,
        metadata=metadata,
        reason="r",
        placed_at=AT,
        ended_at=ended_at,
    )


ACTS = st.lists(
    st.tuples(
        st.sampled_from(
            ("make", "write", "mark", "delete", "hold", "hold_by_metadata", "hold_all", "end", "rule", "pass")
        ),
        st.integers(0, 5),
    ),
    min_size=4,
    max_size=14,
)


class Model:
    """The threads, holds and rules of a history, and the rule that each release must keep."""

    def __init__(self, retained: Retained) -> None:
        self.retained = retained
        self.policy = Policy(PROJECT)
        self.last: dict[str, datetime] = {}
        self.metadata: dict[str, list[dict[str, str]]] = {}
        self.deleted: set[str] = set()
        self.erased: set[str] = set()
        self.holds: list[Hold] = []

    def held(self, id: str) -> bool:
        return any(covers(hold, PROJECT, id, self.metadata[id]) for hold in self.holds)

    async def perform(self, act: str, number: int) -> None:
        retained, id = self.retained, f"thread_{number}"
        is_there = id in self.last and id not in self.deleted
        match act:
            case "make" if id not in self.last:
                await make_thread(retained.write, id, "Hello.")
                self.last[id], self.metadata[id] = retained.clock.now(), [{}]
            case "write" if is_there:
                await retained.write.thread(ORIGIN, id, add("Again.", IDS.new("msg")))
                self.last[id] = retained.clock.now()
            case "mark" if is_there:
                self.metadata[id].append({"case": str(number % 2)})
                await retained.write.thread(ORIGIN, id, ModifyThread({"metadata": self.metadata[id][-1]}))
                self.last[id] = retained.clock.now()
            case "delete" if is_there:
                await retained.delete(id)
                self.deleted.add(id)
            case "hold" if id in self.last and id not in self.erased:
                self.holds.append(await retained.hold(id))
            case "hold_by_metadata":
                self.holds.append(await retained.hold(metadata={"case": str(number % 2)}))
            case "hold_all":
                self.holds.append(await retained.hold())
            case "end" if self.holds:
                await retained.retention.end_hold(ORIGIN, self.holds.pop(number % len(self.holds)).id)
            case "rule":
                self.policy = Policy(PROJECT, (None, 2, 5)[number % 3], (None, 4)[number % 2])
                await retained.retention.set_policy(ORIGIN, self.policy)
            case _:
                retained.clock.skip(number * DAY_S)

    async def scan(self) -> None:
        """Lets the servers work, and compares what is left with the rules."""
        await self.retained.scan_idle()
        await self.retained.scan_later(0)
        now = self.retained.clock.now()
        since = idle_since(self.policy, now)
        for id, last in self.last.items():
            if since is not None and last < since and not self.held(id):
                self.deleted.add(id)
            if id in self.deleted and not self.held(id) and kept_until(self.policy, last) <= now:
                self.erased.add(id)
            assert await self.retained.exists(id) is (id not in self.deleted), id
            assert await self.retained.has_key(id) is (id not in self.erased), id


@pytest.mark.slow
@given(acts=ACTS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_history_destroys_what_is_kept_or_keeps_what_is_due(
    acts: list[tuple[str, int]], postgres: str, tmp_path: Path
) -> None:
    async with opened(postgres, tmp_path) as retained:
        model = Model(retained)
        for number in range(3):
            await model.perform("make", number)
        for act, number in acts:
            await model.perform(act, number)
            await model.scan()
        # In the end everything is released, and each thread was deleted and erased once.
        for hold in model.holds:
            await retained.retention.end_hold(ORIGIN, hold.id)
        model.holds.clear()
        await model.perform("rule", 1)
        retained.clock.skip(9 * DAY_S)
        await model.scan()
        assert model.erased == model.last.keys()
        counts = (
            "SELECT max(count) FROM (SELECT count(*) FROM events WHERE type = 'thread.deleted' GROUP BY stream_id) AS x"
        )
        assert await retained.fetch(counts) == 1
        assert len(retained.forget_list.load()) == len(model.erased)
        assert await retained.faults() == []
