"""A restore begins an epoch: readers of the feed miss nothing, and the older epochs can still be served and proven."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from events.actors import ProcessActor
from events.envelope import Origin
from events.installation import (
    INSTALLATION_ID,
    INSTALLATION_PROJECT,
    CreateInstallation,
    RecordStart,
)
from events.streams import INSTALLATION
from service.audit import checkpoint_signer
from service.audit.audit_feed import AuditFilter, find_lost, read_page
from service.audit.checkpoint import Checkpoint, open_checkpoint
from service.audit.checkpoint_signer import verifier_key
from service.audit.event_proofs import NoProof, prove_event, prove_growth
from service.audit.kept_checkpoints import LATEST, CheckpointFolder
from service.audit.log_check import KnownCheckpoint
from service.audit.log_tree import load_epoch, load_epochs, load_sizes
from service.audit.merkle import is_consistent, is_included
from service.audit.notes import Note
from service.audit.proof_file import Evidence
from service.audit.restores import EPOCH_INDEXES, check_history
from service.audit.sequencer import Sequencer
from service.audit.verification import Scope
from service.database import Pool
from sql.connection import Connection
from tests.audit.test_checkpoint_signer import FIRST, Process
from tests.audit.test_sequencer import Processes, seal_all
from tests.audit.test_verification import verified
from tests.events.thread.story import add
from tests.projections.helpers import ORIGIN as THREAD_ORIGIN
from tests.projections.helpers import make_thread, writer

ORIGIN = Origin(INSTALLATION_PROJECT, ProcessActor(1))
Place = tuple[str, int]


class Installation:
    """A database with a thread, its backups, and the folder with the checkpoints."""

    def __init__(self, pool: Pool, db: Connection, folder: Path) -> None:
        self.pool = pool
        self.db = db
        self.folder = folder
        self.write = writer(pool)
        self._added = 0

    async def add(self, count: int, *, thread: str = "thread_1", is_sealed: bool = True) -> None:
        if not await self.db.fetchval("SELECT count(*) FROM streams WHERE stream_id = $1", thread):
            await make_thread(self.write, thread)
        for _ in range(count):
            self._added += 1
            await self.write.thread(THREAD_ORIGIN, thread, add("Hi", f"msg_{self._added}"))
        if is_sealed:
            await seal_all(self.db)

    async def sign(self) -> str:
        assert await Process(self.pool, self.folder).scan() is None
        return (self.folder / LATEST).read_text()

    async def back_up(self) -> dict[str, list[Any]]:
        tables = await self.db.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {
            name: await self.db.fetch(f"SELECT * FROM {name}")
            for (name,) in tables
            if name.startswith(("events", "streams", "log_", "threads", "messages")) and "readable" not in name
        }

    async def restore(self, backup: dict[str, list[Any]]) -> None:
        for name, rows in backup.items():
            await self.db.execute(f"TRUNCATE {name}")
            if rows:
                await self.db.copy_records_to_table(
                    name, records=[tuple(row) for row in rows], columns=list(rows[0].keys())
                )
        self.write = writer(self.pool)

    async def start(self, reason: str | None) -> None:
        await check_history(self.write, CheckpointFolder(self.folder), ORIGIN, reason=reason)

    async def read(self, after: int) -> list[tuple[int, Place]]:
        """Reads the feed to its end, in small pages."""
        found: list[tuple[int, Place]] = []
        while True:
            page = await read_page(self.db, AuditFilter(), after=after, limit=3)
            found += [(event.log_index, (event.stream_id, event.version)) for event in page.events]
            if not page.more:
                return found
            after = found[-1][0]


@pytest.fixture
async def installation(pool: Pool, db: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    monkeypatch.setattr(checkpoint_signer, "KEEP_EVERY_S", 0)
    made = Installation(pool, db, tmp_path / "audit")
    await made.write.write(INSTALLATION, ORIGIN, INSTALLATION_ID, CreateInstallation("inst_1"))
    await made.add(5)
    return made


async def test_a_reader_misses_nothing_over_a_restore(installation: Installation, db: Connection) -> None:
    """Appends wait in the backup, and got other indexes in the log that was lost."""
    await installation.sign()
    await installation.add(2, thread="thread_2", is_sealed=False)
    await installation.write.write(INSTALLATION, ORIGIN, INSTALLATION_ID, RecordStart({}))
    backup, kept = await installation.back_up(), len(await installation.read(-1))
    await seal_all(db)
    await installation.add(20)
    await installation.sign()
    before = await installation.read(-1)
    await installation.restore(backup)
    await installation.start("The disk failed.")
    await installation.add(4, thread="thread_3")
    for seen in (0, 3, kept, kept + 1, kept + 5, len(before)):
        cursor = before[seen - 1][0] if seen else -1
        lost = find_lost(await load_sizes(db), cursor)
        assert lost == (None if seen <= kept else kept)
        after = await installation.read(cursor)
        assert {place for _, place in before[:kept]} | {place for _, place in after} >= {
            (row["stream_id"], row["version"]) for row in await db.fetch("SELECT stream_id, version FROM events")
        }
        assert all(index > cursor for index, _ in after)
        assert len({place for _, place in after}) == len(after), "no event comes twice"
    new = [index for index, _ in after]
    assert new == list(range(EPOCH_INDEXES, EPOCH_INDEXES + len(new)))
    assert after[0][1][0] == INSTALLATION_ID
    assert find_lost(await load_sizes(db), new[-1]) is None


async def test_a_second_restore_of_the_same_backup_uses_no_index_twice(
    installation: Installation, db: Connection
) -> None:
    backup = await installation.back_up()
    used: set[int] = {index for index, _ in await installation.read(-1)}
    for number in range(3):
        await installation.add(10)
        await installation.sign()
        ends = {index for index, _ in await installation.read(-1)}
        await installation.restore(backup)
        await installation.start(f"Restore {number}")
        new = {index for index, _ in await installation.read(max(ends))}
        assert new
        assert not new & (used | ends)
        used |= new | ends
    assert find_lost(await load_sizes(db), max(ends)) is not None


async def test_events_and_checkpoints_of_older_epochs_are_proven(installation: Installation, db: Connection) -> None:
    first = Note.parse(await installation.sign())
    await installation.add(3)
    older = Note.parse(await installation.sign())
    await installation.start("Only for this test.")
    await installation.add(2, thread="thread_2")
    newer = Note.parse(await installation.sign())
    epochs = await load_epochs(db)
    for stream_id, version, note, epoch in (("thread_1", 3, older, epochs[0]), ("thread_2", 2, newer, epochs[1])):
        proof = await prove_event(db, stream_id, version, has_content=True)
        assert str(proof.note) == str(note)
        checkpoint = open_checkpoint(proof.note, verifier_key(epoch, FIRST))
        leaf = await db.fetchval("SELECT leaf FROM events WHERE stream_id = $1 AND version = $2", stream_id, version)
        assert is_included(leaf, proof.index, size=checkpoint.size, root=checkpoint.root, proof=list(proof.hashes))
        assert f"{stream_id}".encode() in Evidence.parse(proof.extra or b"").entry
    growth = await prove_growth(db, first, None)
    old, new = Checkpoint.parse(first.text), Checkpoint.parse(growth.note.text)
    assert new == Checkpoint.parse(older.text)
    assert is_consistent(old.size, new.size, old_root=old.root, new_root=new.root, proof=list(growth.hashes))
    with pytest.raises(NoProof, match="the checkpoints are of different logs"):
        await prove_growth(db, first, newer)


async def test_an_event_that_no_checkpoint_of_its_epoch_covers(installation: Installation, db: Connection) -> None:
    await installation.sign()
    await installation.add(1, thread="thread_2")
    await installation.start("Only for this test.")
    with pytest.raises(NoProof, match="a restore ended epoch 1 before one was signed"):
        await prove_event(db, "thread_2", 1, has_content=False)
    with pytest.raises(NoProof, match="no checkpoint of epoch 2 was signed yet"):
        await prove_event(db, INSTALLATION_ID, 3, has_content=False)


async def test_verify_says_what_a_restore_removed(
    installation: Installation, db: Connection, database_url: str
) -> None:
    await installation.sign()
    backup, kept = await installation.back_up(), await db.fetchval("SELECT sum(count) FROM log_ranges")
    await installation.add(10)
    lost = Checkpoint.parse(Note.parse(await installation.sign()).text)
    await installation.restore(backup)
    await installation.start("The disk failed.")
    await installation.sign()
    known = KnownCheckpoint(lost, "the checkpoint lost.txt")
    # A person who removed events can feign a restore, so it is a fault unless the operator acknowledges it.
    for restores in ([], [1, 3]):
        [fault] = (await verified(database_url, scope=Scope(known=[known], restores=restores))).faults
        assert str(fault) == (
            f"log: the checkpoint lost.txt: a restore (The disk failed.) removed events, {kept} of its {lost.size}"
            " events are left. If you restored the database then, say so by --restored 2"
        )
    found = await verified(database_url, scope=Scope(known=[known], restores=[2]))
    assert found.faults == []
    assert found.log_size == await db.fetchval("SELECT sum(count) FROM log_ranges")
    left = f"{kept} of its {lost.size} events are left"
    assert found.losses == [f"the checkpoint lost.txt: a restore (The disk failed.) removed events, {left}"]
    # The new epoch says how much the database had, so that a restore excuses nothing that is removed later.
    await db.execute(
        "DELETE FROM log_checkpoints WHERE epoch = 1; DELETE FROM log_ranges WHERE first_index = $1 - 1".replace(
            "$1", str(kept)
        )
    )
    texts = [str(fault) for fault in (await verified(database_url, scope=Scope(known=[known]))).faults]
    assert any("the event that began epoch 2 has" in text for text in texts), texts


async def test_a_backup_of_an_older_epoch(installation: Installation, db: Connection, database_url: str) -> None:
    backup = await installation.back_up()
    await installation.start("First.")
    await installation.add(3)
    lost = Checkpoint.parse(Note.parse(await installation.sign()).text)
    cursor = (await installation.read(-1))[-1][0]
    await installation.restore(backup)
    await installation.start("Second.")
    assert [epoch.epoch for epoch in await load_epochs(db)] == [1, 3]
    assert find_lost(await load_sizes(db), cursor) == len(backup["events"])
    [fault] = (await verified(database_url, scope=Scope(known=[KnownCheckpoint(lost, "lost.txt")]))).faults
    text = f"log: lost.txt: a restore (Second.) removed all of its {lost.size} events."
    assert str(fault).startswith(text)
    found = await verified(database_url, scope=Scope(known=[KnownCheckpoint(lost, "lost.txt")], restores=[3]))
    assert (found.faults, found.losses) == (
        [],
        [f"lost.txt: a restore (Second.) removed all of its {lost.size} events"],
    )


async def test_a_sequencer_gives_no_index_twice(installation: Installation, db: Connection, pool: Pool) -> None:
    """A failover leads to an older state while a process runs, and nothing was signed since."""
    leader, follower = (Sequencer(pool, Processes(number, frozenset({1, 2}))) for number in (1, 2))
    await installation.add(1, is_sealed=False)
    await leader.scan()
    await follower.scan()
    end = await db.fetchval("SELECT max(first_index + count) FROM log_ranges")
    await db.execute("DELETE FROM log_ranges WHERE first_index = $1", end - 1)
    await installation.add(1, thread="thread_2", is_sealed=False)
    for process in (leader, follower):
        await process.scan()
        assert f"the log ends at the index {end - 1}, and ended at {end}" in str(await process.check_health())
    assert await db.fetchval("SELECT max(first_index + count) FROM log_ranges") == end - 1


async def test_a_restore_within_a_minute_is_believed(installation: Installation, db: Connection) -> None:
    """The newest checkpoint beside the key is older than the backup, so only the operator knows."""
    await installation.sign()
    await installation.add(1)
    await installation.start("The disk failed.")
    assert (await load_epoch(db)).epoch == 2
    await installation.sign()
    await installation.start("The disk failed.")
    assert (await load_epoch(db)).epoch == 2, "the reason was left in the command"


async def test_two_servers_begin_one_epoch(installation: Installation, db: Connection) -> None:
    await asyncio.gather(*(installation.start("The disk failed.") for _ in range(2)), return_exceptions=True)
    epochs = await load_epochs(db)
    assert [epoch.epoch for epoch in epochs] in ([1, 2], [1, 2, 3])
    await seal_all(db)
    places = [place for _, place in await installation.read(-1)]
    assert len(places) == len(set(places)) == await db.fetchval("SELECT count(*) FROM events")
