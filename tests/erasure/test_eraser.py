"""The eraser ends its work whatever step it dies at, and touches nothing that is not deleted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import sql
from events import event_log
from events.actors import ToolActor
from events.clock import Clock
from events.envelope import Origin
from events.file import CreateFile, DeleteFile
from events.streams import FILE, STREAM_TYPES, THREAD
from events.thread.commands import DeleteThread, FinishToolCall, ForkThread
from events.thread.events import ToolFile
from projections import erasures, rebuild, usage
from service.audit.audit_feed import read_newest
from service.audit.verification import Scope, verify_installation
from service.database import Pool, connect, open_pool
from service.erasure import eraser as eraser_module
from service.erasure.copies import CopyRemover
from service.erasure.eraser import Eraser
from service.erasure.forget_list import ForgetList
from service.erasure.proof import prove_erasure
from service.erasure.repetition import forget_again
from service.migrations import migrate, prepare_database
from service.secrets.encryption import begin_encryption
from service.secrets.key_ring import RING, new_secret
from service.secrets.key_source import EncryptionKeySource
from service.storage.folder import FolderBlobs
from service.usage.follower import UsageFollower
from service.wire.organization_audit import TYPES, render_audit_log
from service.writer import Writer
from sql.seals import ContentErased
from tests.audit.sealing import seal
from tests.clock import CLOCK
from tests.events.thread.story import add, claim, finish, run
from tests.events.thread.test_tool_calls import CODE, reply
from tests.fake_search_engine import FakeSearchEngine
from tests.fixtures.postgres import empty_database
from tests.projections.helpers import ORIGIN, make_assistant, make_thread, writer

CODE_ORIGIN = Origin(project_id=ORIGIN.project_id, actor=ToolActor("code_interpreter"))


class Installation:
    """An encrypted database with its blobs and its forget-list, and the eraser of one process."""

    def __init__(self, url: str, pool: Pool, folder: Path, clock: Clock = CLOCK) -> None:
        self.url = url
        self.pool = pool
        self.write: Writer = writer(pool, clock)
        self.blobs = FolderBlobs(folder / "blobs")
        self.forget_list = ForgetList(folder / "audit")
        self.announced: list[str] = []
        copies = CopyRemover(self.write, self.blobs, FakeSearchEngine())
        self.eraser = Eraser(self.write, copies, forget_list=self.forget_list, process=7, announce=self._announce)

    async def _announce(self, stream_ids: Sequence[str]) -> None:
        self.announced += stream_ids

    async def scan(self) -> None:
        """Seals the log, and lets the reports and the eraser follow it."""
        async with self.pool.acquire() as db:
            await seal(db)
        await UsageFollower(self.pool).scan()
        await self.eraser.scan()

    async def fetch(self, query: str, *values: Any) -> Any:
        async with self.pool.acquire() as db:
            return await db.fetchval(query, *values)

    async def has_key(self, stream_id: str) -> bool:
        return bool(await self.fetch("SELECT EXISTS (SELECT FROM stream_keys WHERE stream_id = $1)", stream_id))

    async def make_file(self, id: str, origin: Origin = ORIGIN, purpose: str = "assistants_output") -> None:
        blob = f"blob_{id}"
        stored = await self.blobs.write(blob, _chunks())
        command = CreateFile(id, purpose, stored.bytes, stored.sha256, "text/plain", None, blob)
        await self.write.file(origin, id, command)

    async def faults(self) -> list[str]:
        progress = await verify_installation(self.url, None, Scope(), lambda _: None)
        return [str(fault) for fault in progress.faults]


async def _chunks() -> AsyncIterator[bytes]:
    yield b"Hello."


@pytest.fixture
async def installed(postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Installation]:
    monkeypatch.setattr(eraser_module, "CLAIM_S", 0.0)
    async with empty_database(postgres) as url:
        await prepare_database(url)
        db = await connect(url)
        secret = new_secret()
        await begin_encryption(db, EncryptionKeySource(folder=tmp_path, keys="x"), [secret], ring=RING)
        await db.close()
        pool = await open_pool(url)
        yield Installation(url, pool, tmp_path)
        pool.terminate()


def breaking(whole: Callable[..., Awaitable[Any]], *, before: bool) -> Callable[..., Awaitable[Any]]:
    """Returns the function, which dies the first time that it is called: before its work, or after it."""
    has_died = False

    async def die_once(*values: Any, **named: Any) -> Any:
        nonlocal has_died
        dies, has_died = not has_died, True
        if dies and before:
            raise Death
        result = await whole(*values, **named)
        if dies:
            raise Death
        return result

    return die_once


class Death(BaseException):
    """The process dies."""


STEPS: Sequence[tuple[Any, str]] = (
    (erasures, "follow"),
    (erasures, "claim_uncleared"),
    (erasures, "remove_answers"),
    (erasures, "drop_queued"),
    (erasures, "mark_cleared"),
    (erasures, "claim_unerased"),
    (Eraser, "_record"),
    (ForgetList, "add"),
    (erasures, "destroy_key"),
)


async def test_every_step_is_repeated_after_a_crash(installed: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, (owner, name) in enumerate([*STEPS, *STEPS]):
        id = f"thread_{number}"
        await make_thread(installed.write, id, "Hello.")
        await installed.write.thread(ORIGIN, id, DeleteThread())
        with monkeypatch.context() as broken:
            broken.setattr(owner, name, breaking(getattr(owner, name), before=number < len(STEPS)))
            with pytest.raises(Death):
                await installed.scan()
        assert await installed.faults() == []
        await installed.scan()
        assert not await installed.has_key(id), name
    assert await installed.faults() == []
    assert len(installed.forget_list.load()) == 2 * len(STEPS)


async def test_what_was_erased_cannot_be_read_and_all_else_can(installed: Installation) -> None:
    await make_assistant(installed.write, "asst_1")
    for id in ("thread_1", "thread_2"):
        await make_thread(installed.write, id)
        await installed.write.thread(ORIGIN, id, run(claim=claim()))
        await installed.write.thread(ORIGIN, id, finish("Done."))
    await installed.write.thread(ORIGIN, "thread_1", DeleteThread())
    await installed.scan()
    assert installed.announced == ["thread_1"]
    async with installed.pool.acquire() as db:
        with pytest.raises(ContentErased):
            await event_log.read(db, "thread_1")
        assert len(await event_log.read(db, "thread_2")) > 3
        # Rebuilds leave it out, and the reports keep what it used.
        assert await rebuild.rebuild(db, ["thread_1"]) == 0
        before = await db.fetch("SELECT * FROM usage_calls ORDER BY thread_id")
        async with db.transaction():
            await usage.FOLLOWER.rebuild(db, 10)
        assert await db.fetch("SELECT * FROM usage_calls ORDER BY thread_id") == before
    assert {row["thread_id"] for row in before} == {"thread_1", "thread_2"}
    # A command on it is refused as on any deleted thread, also by a process that has an older head.
    for process in (installed.write, writer(installed.pool)):
        with pytest.raises(Exception, match="No thread found with id 'thread_1'"):
            await process.thread(ORIGIN, "thread_1", add("Hello?", "msg_9"))
    assert await installed.faults() == []


async def test_the_audit_log_keeps_the_entry_of_a_deletion(installed: Installation) -> None:
    await make_thread(installed.write, "thread_1", "Hello.")
    await installed.write.thread(ORIGIN, "thread_1", DeleteThread())

    async def entries() -> list[dict[str, Any]]:
        bounds: dict[str, Any] = {"newer_than": -1, "older_than": 2**62, "since": None, "until": None, "limit": 9}
        types = TYPES["resource.deleted"]
        async with installed.pool.acquire() as db:
            page = await read_newest(db, types=types, projects=None, actors=None, stream_ids=None, **bounds)
        return [render_audit_log(event) for event in page.events]

    async with installed.pool.acquire() as db:
        await seal(db)
    [before] = await entries()
    assert before["resource.deleted"] == {"id": "thread_1"}
    await installed.scan()
    assert not await installed.has_key("thread_1")
    assert await entries() == [before]


async def test_a_missing_key_without_an_event_is_a_fault(installed: Installation) -> None:
    await make_thread(installed.write, "thread_1", "Hello.")
    await installed.fetch("DELETE FROM stream_keys WHERE stream_id = 'thread_1'")
    [fault] = await installed.faults()
    assert "is missing, and no event says that it was erased" in fault


async def test_a_file_that_exists_again_keeps_its_key(installed: Installation) -> None:
    await installed.make_file("file-1")
    await installed.write.file(ORIGIN, "file-1", DeleteFile())
    await installed.make_file("file-1")
    await installed.scan()
    assert await installed.has_key("file-1")
    assert await installed.blobs.read("blob_file-1").__anext__() == b"Hello."
    # One that is created after its erasure has a new key, and the new events alone are read.
    await installed.write.file(ORIGIN, "file-1", DeleteFile())
    await installed.scan()
    assert not await installed.has_key("file-1")
    await installed.make_file("file-1")
    await installed.scan()
    assert await installed.has_key("file-1")
    async with installed.pool.acquire() as db:
        assert await rebuild.compare(db, ["file-1"]) == (5, [])
    assert await installed.faults() == []


async def test_a_key_of_a_file_that_exists_again_is_never_named(
    installed: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    await installed.make_file("file-1")
    for is_erased in (False, True):
        if is_erased:
            await installed.write.file(ORIGIN, "file-1", DeleteFile())
            await installed.scan()
            await installed.make_file("file-1")
        named = installed.forget_list.load()
        await installed.write.file(ORIGIN, "file-1", DeleteFile())
        with monkeypatch.context() as plain:  # the keys are destroyed later, as in an installation that is plain
            plain.setattr(Eraser, "_destroy_keys", _destroy_none)
            await installed.scan()
        await installed.make_file("file-1")
        for _ in range(2):
            await installed.scan()
        assert installed.forget_list.load() == named
        assert await installed.fetch("SELECT count(*) FROM events WHERE type = 'streams.erased'") == len(named)
        assert await installed.fetch("SELECT count(*) FROM erasures WHERE erased_at IS NULL") == 0
        await forget_again(installed.write, installed.eraser, installed.forget_list, process=7)
        assert await installed.has_key("file-1")
    assert await installed.faults() == []


async def _destroy_none(_: Eraser) -> int:
    return 0


async def run_code(installed: Installation, thread_id: str, files: Sequence[str]) -> None:
    """A thread with a run whose code made these files."""
    await make_thread(installed.write, thread_id)
    for command in (run(claim=claim()), reply(CODE)):
        await installed.write.thread(ORIGIN, thread_id, command)
    for id in files:
        await installed.make_file(id, CODE_ORIGIN)
    made = [ToolFile(path=f"/mnt/data/{id}", file_id=id) for id in files]
    shown: dict[str, Any] = {"outputs": []}
    result = FinishToolCall("run_1", 1, CODE["id"], 1, "finished", shown, "", made)
    await installed.write.thread(ORIGIN, thread_id, result)


async def test_the_files_that_code_made_go_with_their_thread(installed: Installation) -> None:
    await installed.make_file("file-client")
    await run_code(installed, "thread_1", ["file-own", "file-attached", "file-client"])
    async with installed.pool.acquire() as db:
        await erasures.note_attached(db, ["file-attached"])
    await run_code(installed, "thread_2", ["file-forked"])
    await make_thread(installed.write, "thread_fork")
    await installed.write.thread(ORIGIN, "thread_2", ForkThread("thread_fork", 3))
    for id in ("thread_1", "thread_2"):
        await installed.write.thread(ORIGIN, id, DeleteThread())
    await installed.scan()
    await installed.scan()
    left = {id for id in ("own", "attached", "client", "forked") if await installed.has_key(f"file-{id}")}
    assert left == {"attached", "client", "forked"}
    blobs = {key async for keys in installed.blobs.list_older(CLOCK.now().max) for key in keys}
    assert blobs == {"blob_file-attached", "blob_file-client", "blob_file-forked"}


async def test_files_that_a_fork_of_a_fork_shows_stay(installed: Installation) -> None:
    names = ("erased", "deleted", "alone", "alone_erased")
    for name in names:
        a, b, c = (f"thread_{name}_{letter}" for letter in "abc")
        await run_code(installed, a, [f"file-{name}"])
        await installed.write.thread(ORIGIN, a, ForkThread(b, 3))
        await make_thread(installed.write, b)
        if not name.startswith("alone"):
            await installed.write.thread(ORIGIN, b, ForkThread(c, 2))
            await make_thread(installed.write, c)
        await installed.write.thread(ORIGIN, b, DeleteThread())
        if name.endswith("erased"):
            await installed.scan()
        await installed.write.thread(ORIGIN, a, DeleteThread())
    await run_code(installed, "thread_early", ["file-early"])
    await installed.write.thread(ORIGIN, "thread_early", ForkThread("thread_later", 3))
    await installed.write.thread(ORIGIN, "thread_early", DeleteThread())
    await installed.scan()
    await installed.scan()
    left = {name for name in (*names, "early") if await installed.has_key(f"file-{name}")}
    assert left == {"erased", "deleted", "early"}


async def test_files_from_before_the_upgrade_stay(installed: Installation) -> None:
    await run_code(installed, "thread_1", ["file-old"])
    await installed.fetch("UPDATE erasure_progress SET since = (SELECT max(at) FROM events)")
    await installed.write.thread(ORIGIN, "thread_1", DeleteThread())
    await installed.scan()
    assert await installed.has_key("file-old")
    assert await installed.blobs.read("blob_file-old").__anext__() == b"Hello."


async def test_an_upgrade_notes_its_time(postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    migrations = sql.migrations()
    async with empty_database(postgres) as url:
        with monkeypatch.context() as older:
            older.setattr(sql, "migrations", lambda: [each for each in migrations if each.name < "0029"])
            await prepare_database(url)
        db = await connect(url)
        await db.execute(
            "INSERT INTO streams (stream_id, kind, project_id, version, at, state_schema, state, leaf, view_epoch)"
            " VALUES ('thread_1', 'thread', 'proj_1', 1, now(), 1, '', '', 1000)"
        )
        await migrate(db)
        assert await db.fetchval("SELECT since - now() > interval '59 min' FROM erasure_progress")
        await db.close()


async def test_a_restored_stream_is_erased_again(installed: Installation) -> None:
    for id in ("thread_1", "thread_2"):
        await make_thread(installed.write, id, "Hello.")
    key_id = await installed.fetch("SELECT key_id FROM stream_keys WHERE stream_id = 'thread_1'")
    await installed.forget_list.add([("thread_1", key_id), ("thread_2", "0" * 16)], CLOCK.now())
    await forget_again(installed.write, installed.eraser, installed.forget_list, process=7)
    assert not await installed.has_key("thread_1")
    assert await installed.has_key("thread_2")
    state = (
        (await installed.write.load_thread("thread_1")).exists,
        (await installed.write.load_thread("thread_2")).exists,
    )
    assert state == (False, True)
    assert await installed.faults() == []


async def test_a_plain_installation_loses_the_copies_only(pool: Pool, database_url: str, tmp_path: Path) -> None:
    plain = Installation(database_url, pool, tmp_path)
    await make_thread(plain.write, "thread_1", "Hello.")
    await plain.write.thread(ORIGIN, "thread_1", DeleteThread())
    await plain.scan()
    assert await plain.fetch("SELECT cleared_at IS NOT NULL AND erased_at IS NULL FROM erasures")
    async with pool.acquire() as db:
        assert len(await event_log.read(db, "thread_1")) == 3


async def test_the_proof_of_an_erasure(installed: Installation) -> None:
    for id in ("thread_1", "thread_fork"):
        await make_thread(installed.write, id, "Hello.")
    await installed.write.thread(ORIGIN, "thread_1", ForkThread("thread_fork", 2))
    key_id = await installed.fetch("SELECT key_id FROM stream_keys WHERE stream_id = 'thread_1'")
    db = await connect(installed.url, is_lenient=True)
    proof = await prove_erasure(db, "thread_1")
    assert proof is not None
    assert proof.problem == "its object is not deleted"
    await installed.write.thread(ORIGIN, "thread_1", DeleteThread())
    proof = await prove_erasure(db, "thread_1")
    assert proof is not None
    assert proof.problem == "4 of its events can be read"
    await installed.scan()
    db = await connect(installed.url, is_lenient=True)
    proof = await prove_erasure(db, "thread_1")
    assert proof is not None
    assert (proof.problem, proof.stored_key, proof.readable, proof.faults) == (None, None, 0, [])
    assert [event.type for event in proof.events][-2:] == ["thread.forked", "thread.deleted"]
    assert [(each.key_id, each.actor) for each in proof.destructions] == [(key_id, "process:7")]
    assert proof.forks == {"thread_fork": True}
    assert await prove_erasure(db, "thread_none") is None


def test_every_kind_that_can_be_deleted_has_its_deletion() -> None:
    kinds = {type.partition(".")[0] for type in erasures.DELETIONS}
    assert kinds == {"assistant", "file", "thread", "vector_store", "webhook_endpoint"}
    assert kinds < STREAM_TYPES.keys()
    assert {FILE.name, THREAD.name} < kinds
