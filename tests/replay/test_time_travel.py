"""Objects at a point in the past equal those that the views had then, at every version of random histories."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from events.assistant import DeleteAssistant, ModifyAssistant
from events.errors import DomainError, NotFound, Rejection
from events.file import CreateFile, DeleteFile
from events.thread.commands import DeleteMessage, DeleteThread, ModifyMessage, ModifyThread
from events.vector_store.commands import CreateStore, DeleteStore
from projections import files as files_of_project
from projections import messages, placeholders, runs, steps, threads
from projections import vector_store_batches as batches
from projections import vector_store_files as files
from projections import vector_stores as stores
from projections.row_fold import CannotFold
from projections.rows import Cursor, Page
from service.database import Pool
from service.replay import time_travel
from service.replay.beginnings import NotYetFound
from service.replay.past_assistant import read_assistant
from service.replay.past_store import PastVectorStore
from service.replay.past_thread import PastThread
from service.replay.time_travel import ReplayBusy, TimeTravel, Viewer
from service.wire.as_of import AsOf, Moment, StreamVersion
from sql.connection import Connection
from tests.clock import CLOCK, WallClock
from tests.events.thread.histories import World
from tests.events.thread.story import CREATE as CREATE_THREAD
from tests.events.thread.story import claim, finish, run
from tests.projections.helpers import ORIGIN, make_assistant, make_thread, writer
from tests.projections.test_vector_stores import CREATE, ErraticClock, make_files, random_command

HISTORIES = 2
COMMANDS = 40
AUDITOR = Viewer("proj_1", sees_deleted=True)
READER = Viewer("proj_1", sees_deleted=False)
CURSORS = (Cursor(2), Cursor(3, "asc"), Cursor(100))

Answers = dict[Any, Any]


async def _answer(read: Awaitable[Any]) -> Any:
    """Returns what a read returned, or the type of its refusal."""
    try:
        return await read
    except NotFound:
        return NotFound


async def _present(db: Connection, read: Awaitable[Any]) -> Any:
    """Returns objects without references to what is deleted, as the API does."""
    found = await _answer(read)
    if found is NotFound:
        return NotFound
    shown = found.items if isinstance(found, Page) else [found]
    shown = await files_of_project.keep_existing_files(db, "proj_1", shown, CLOCK.now())
    shown = await stores.keep_existing_stores(db, "proj_1", shown, CLOCK.now())
    return Page(shown, found.more) if isinstance(found, Page) else shown[0]


async def _read_served(db: Connection, world: World, at: AsOf) -> Answers:
    """Reads the objects of a thread from the views; the keys name methods of PastThread and their arguments."""
    thread_id, found = world.state.id, Answers()
    found["thread",] = await _present(db, threads.get(db, "proj_1", thread_id))
    if found["thread",] is NotFound:
        return found
    for cursor in (*CURSORS, *(Cursor(2, "asc", after=id) for id in list(world.messages)[:2])):
        found["messages", cursor] = await _present(db, messages.page(db, "proj_1", thread_id, cursor))
        if cursor.after is None:
            found["runs", cursor] = await runs.page(db, "proj_1", thread_id, cursor)
    for id in world.messages:
        found["message", id] = await _present(db, messages.get(db, "proj_1", thread_id, id))
    for id in world.runs:
        found["run", id] = await runs.get(db, "proj_1", thread_id, id)
        found["messages", Cursor(5), id] = await _present(db, messages.page(db, "proj_1", thread_id, Cursor(5), id))
        found["steps", id, Cursor(5)] = page = await steps.page(db, "proj_1", thread_id, id, Cursor(5))
        for step in page.items:
            found["step", id, step.id] = await steps.get(db, "proj_1", thread_id, id, step.id)
    if world.state.run is not None and (call := world.state.run.call) is not None:
        run_id = world.state.run.id
        if call.message_id not in world.messages:
            found["message", call.message_id] = await _answer(
                placeholders.message(db, "proj_1", thread_id, call.message_id)
            )
        for id in (call.message_step_id, call.tool_step_id):
            if ("step", run_id, id) not in found:
                found["step", run_id, id] = await _answer(placeholders.step(db, "proj_1", thread_id, run_id, id))
    return found


async def _compare(past_of: Callable[[AsOf], Any], served: dict[AsOf, Answers], sample: Random) -> None:
    for at, answers in served.items():
        for key in sample.sample(list(answers), min(len(answers), 8)):
            name, *arguments = key
            past = await _answer(getattr(past_of(at), name)(*arguments))
            assert past == answers[key], (at, key)


@pytest.mark.slow
async def test_threads_at_every_version(pool: Pool) -> None:
    write, travel = writer(pool), TimeTravel(pool, CLOCK)
    await make_files(write)
    for seed in range(HISTORIES):
        world = World(Random(seed), f"thread_{seed}", lifetimes=(0, 600, 600, 600))
        served: dict[AsOf, Answers] = {}
        for _ in range(COMMANDS):
            try:
                written = await write.thread(ORIGIN, world.state.id, world.next_command())
            except DomainError:
                continue
            world.absorb(written.recorded)
            if written.recorded:
                at = StreamVersion(len(world.log))
                async with pool.acquire() as db:
                    served[at] = await _read_served(db, world, at)
                served[Moment(written.recorded[-1].at)] = served[at]
        assert served
        await _compare(lambda at: PastThread(travel, AUDITOR, f"thread_{seed}", at), served, Random(seed))  # noqa: B023


@pytest.mark.slow
async def test_vector_stores_at_every_time(pool: Pool) -> None:
    clock = ErraticClock(Random(1))
    write = writer(pool, clock)
    travel = TimeTravel(pool, WallClock(timedelta(days=1000)))
    await make_files(write)
    for seed in range(HISTORIES):
        random, store = Random(seed), f"vs_{seed}"
        served: dict[AsOf, Answers] = {}
        await write.vector_store(ORIGIN, store, CREATE)
        batch_ids: set[str] = set()
        for _ in range(COMMANDS):
            try:
                written = await write.vector_store(ORIGIN, store, random_command(random, store))
            except DomainError:
                continue
            for entry in written.recorded:
                batch_id = getattr(entry.event, "batch_id", None)
                batch_ids |= {batch_id} if batch_id is not None else set()
            found, now = Answers(), clock.now()
            async with pool.acquire() as db:
                found["store",] = await _answer(stores.get(db, "proj_1", store, now))
                if found["store",] is not NotFound:
                    for cursor in CURSORS:
                        found["files", cursor] = await files.page(db, "proj_1", store, cursor, now)
                    for id in [f"file-{n}" for n in range(6)]:
                        found["file", id] = await _answer(files.get(db, "proj_1", store, id, now))
                    for id in batch_ids:
                        found["batch", id] = await _answer(batches.get(db, "proj_1", store, id))
            served[Moment(now)] = found
            clock.at += timedelta(microseconds=1)  # nothing else happens at that time
        await _compare(lambda at: PastVectorStore(travel, AUDITOR, f"vs_{seed}", at), served, Random(seed))  # noqa: B023


async def test_a_thread_before_it_began_and_beyond_its_end(pool: Pool) -> None:
    write, travel = writer(pool), TimeTravel(pool, CLOCK)
    before = CLOCK.now()
    await make_thread(write, "thread_1", "one")

    def past(at: AsOf, viewer: Viewer = READER, id: str = "thread_1") -> PastThread:
        return PastThread(travel, viewer, id, at)

    for at in (StreamVersion(0), StreamVersion(-5), StreamVersion(-(10**20)), Moment(before)):
        with pytest.raises(
            NotYetFound, match=r"'thread_1' at .*: it began at version 1 of 'thread_1', at 20.*Z \(\d+\."
        ):
            await past(at).thread()
    with pytest.raises(NotYetFound, match="'msg_1' at version 1: it began at version 2"):
        await past(StreamVersion(1)).message("msg_1")
    with pytest.raises(Rejection, match="the newest version of 'thread_1' is 2"):
        await past(StreamVersion(3)).thread()
    assert (await past(Moment(before + timedelta(days=9))).message("msg_1")).id == "msg_1"
    for viewer, id in ((READER, "thread_2"), (Viewer("proj_2", sees_deleted=True), "thread_1")):
        with pytest.raises(NotFound, match=r"^No thread found with id '\w+'\.$"):
            await past(StreamVersion(1), viewer, id).thread()


async def test_a_thread_without_one_of_its_events(pool: Pool, db: Connection) -> None:
    await make_thread(writer(pool), "thread_1", "one", "two")
    await db.execute("DELETE FROM events WHERE stream_id = 'thread_1' AND version = 2")
    for at in (StreamVersion(3), Moment(CLOCK.now())):
        with pytest.raises(CannotFold):
            await PastThread(TimeTravel(pool, CLOCK), READER, "thread_1", at).thread()


async def test_objects_inside_a_thread_before_they_began(pool: Pool) -> None:
    write, travel = writer(pool), TimeTravel(pool, CLOCK)
    await make_thread(write, "thread_1", "one")
    await write.thread(ORIGIN, "thread_1", run(claim=claim()))
    await write.thread(ORIGIN, "thread_1", finish("", "call_1"))
    past = PastThread(travel, READER, "thread_1", StreamVersion(2))
    with pytest.raises(NotYetFound, match="No run found with id 'run_1' at version 2: it began at version 3"):
        await past.run("run_1")
    with pytest.raises(NotYetFound, match="'run_1'"):
        await past.steps("run_1", Cursor(5))
    with pytest.raises(NotFound, match=r"^No run found with id 'run_9'\.$"):
        await past.run("run_9")
    with pytest.raises(NotYetFound, match="run step"):
        await PastThread(travel, READER, "thread_1", StreamVersion(3)).step("run_1", "step_t1")
    with pytest.raises(NotFound, match=r"^No message found with id 'msg_7'\.$"):
        await past.messages(Cursor(5, after="msg_7"))


async def test_what_is_deleted_by_now_is_shown_to_auditors_only(pool: Pool) -> None:
    write, travel = writer(pool), TimeTravel(pool, CLOCK)
    await make_thread(write, "thread_1", "one", "two", "three")
    await write.thread(ORIGIN, "thread_1", ModifyMessage("msg_2", True, {"c": "d"}))
    await write.thread(ORIGIN, "thread_1", DeleteMessage("msg_2", "user"))
    await write.thread(ORIGIN, "thread_1", ModifyThread({"metadata": {"a": "b"}}))

    async def ids(viewer: Viewer, version: int) -> list[str]:
        past = PastThread(travel, viewer, "thread_1", StreamVersion(version))
        return [message.id for message in (await past.messages(Cursor(9, "asc"))).items]

    assert await ids(AUDITOR, 4) == ["msg_1", "msg_2", "msg_3"]
    assert await ids(READER, 4) == ["msg_1", "msg_3"]
    assert await ids(AUDITOR, 6) == ["msg_1", "msg_3"]
    past = PastThread(travel, READER, "thread_1", StreamVersion(4))
    page = await past.messages(Cursor(1, "asc", after="msg_2"))
    assert [message.id for message in page.items] == ["msg_3"], "a deleted message is still a cursor"
    for version in (2, 4, 6):
        with pytest.raises(NotFound, match=r"^No message found with id 'msg_2'\.$"):
            await PastThread(travel, READER, "thread_1", StreamVersion(version)).message("msg_2")
    assert (await PastThread(travel, AUDITOR, "thread_1", StreamVersion(5)).message("msg_2")).metadata == {"c": "d"}

    await write.thread(ORIGIN, "thread_1", DeleteThread())
    assert await ids(AUDITOR, 4) == ["msg_1", "msg_2", "msg_3"]
    for viewer, version in ((READER, 0), (READER, 4), (READER, 8), (AUDITOR, 8)):
        with pytest.raises(NotFound, match=r"^No thread found with id 'thread_1'\.$"):
            await ids(viewer, version)


async def test_deleted_assistants_and_stores(pool: Pool) -> None:
    write, travel = writer(pool), TimeTravel(pool, CLOCK)
    await make_assistant(write, "asst_1")
    await write.assistant(ORIGIN, "asst_1", ModifyAssistant({"name": "N"}))
    assert (await read_assistant(travel, READER, "asst_1", StreamVersion(1))).name == "Tutor"
    assert (await read_assistant(travel, READER, "asst_1", StreamVersion(2))).name == "N"
    await write.assistant(ORIGIN, "asst_1", DeleteAssistant())
    await write.vector_store(ORIGIN, "vs_1", CreateStore("n", None, {}, None, "minilm"))
    await write.vector_store(ORIGIN, "vs_1", DeleteStore())
    assert (await read_assistant(travel, AUDITOR, "asst_1", StreamVersion(2))).name == "N"
    assert (await PastVectorStore(travel, AUDITOR, "vs_1", StreamVersion(1)).store()).name == "n"
    for viewer, back in ((READER, 1), (AUDITOR, 0)):
        with pytest.raises(NotFound):
            await read_assistant(travel, viewer, "asst_1", StreamVersion(3 - back))
        with pytest.raises(NotFound):
            await PastVectorStore(travel, viewer, "vs_1", StreamVersion(2 - back)).store()


async def test_references_are_those_that_existed(pool: Pool) -> None:
    write, travel = writer(pool), TimeTravel(pool, CLOCK)
    await write.file(ORIGIN, "file-1", CreateFile("f.txt", "assistants", 7, "ab", "text/plain", None, "file-1"))
    await write.vector_store(ORIGIN, "vs_1", CreateStore("n", None, {}, None, "minilm"))
    resources = {"code_interpreter": {"file_ids": ["file-1"]}, "file_search": {"vector_store_ids": ["vs_1"]}}
    await make_assistant(write, "asst_1", tool_resources=resources)
    full = CLOCK.now()
    await write.file(ORIGIN, "file-1", DeleteFile())
    await write.vector_store(ORIGIN, "vs_1", DeleteStore())
    assert (await read_assistant(travel, READER, "asst_1", Moment(full))).tool_resources == resources
    assert (await read_assistant(travel, READER, "asst_1", StreamVersion(1))).tool_resources == resources
    assert (await read_assistant(travel, READER, "asst_1", Moment(CLOCK.now()))).tool_resources == {
        "code_interpreter": {"file_ids": []},
        "file_search": {"vector_store_ids": []},
    }


async def test_a_project_waits_for_its_own_folds_only(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_travel, "MAX_WAIT_S", 0.01)
    write, travel = writer(pool), TimeTravel(pool, CLOCK)
    await make_thread(write, "thread_1", "one")
    await write.thread(ORIGIN, "thread_2", CREATE_THREAD)
    other = Viewer("proj_2", sees_deleted=False)
    async with travel.place(other):
        with pytest.raises(ReplayBusy):
            async with travel.place(other):
                pass
        assert (await PastThread(travel, READER, "thread_1", StreamVersion(2)).thread()).id == "thread_1"
    async with travel.place(other):
        pass
