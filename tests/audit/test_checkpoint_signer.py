"""Checkpoints are signed as the log grows, by one process, and never contradict each other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from events.actors import ProcessActor
from events.envelope import Origin
from events.installation import INSTALLATION_ID, INSTALLATION_PROJECT, UseLogKey
from events.streams import INSTALLATION
from service.audit.checkpoint import Checkpoint, open_checkpoint
from service.audit.checkpoint_signer import BYPASS_AFTER_S, KEEP_EVERY_S, CheckpointSigner, verifier_key
from service.audit.kept_checkpoints import KEY, CheckpointFolder
from service.audit.log_tree import load_epoch, load_hashes
from service.audit.merkle import root_nodes, tree_root
from service.audit.notes import Note, VerifierKey
from service.audit.pushes import CheckpointPusher, open_targets
from service.audit.signing_key import LocalSigner, Signer, SigningError
from service.database import Pool
from sql.connection import Connection
from tests.audit.sealing import fill
from tests.clock import WallClock
from tests.projections.helpers import writer

FIRST, SECOND = (LocalSigner(Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)) for number in (1, 2))


@dataclass
class Processes:
    """The processes that a signer takes for alive."""

    process: int = 1
    live: frozenset[int] = frozenset({1})

    async def refresh(self, db: Connection) -> frozenset[int]:
        return self.live


@dataclass
class Process:
    """A process with a signer, and clocks that the test moves."""

    pool: Pool
    folder: Path
    key: Signer = field(default_factory=lambda: FIRST)
    processes: Processes = field(default_factory=Processes)
    clock: WallClock = field(default_factory=WallClock)
    seconds: float = 0.0
    on_regression: Callable[[str], None] = lambda reason: None
    push_to: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pusher = CheckpointPusher(open_targets(self.push_to))
        self.signer = CheckpointSigner(
            self.pool,
            self.processes,
            self.key,
            clock=self.clock,
            folder=CheckpointFolder(self.folder),
            on_regression=self.on_regression,
            pusher=self.pusher,
            monotonic=lambda: self.seconds,
        )

    async def scan(self) -> str | None:
        """Scans once. Returns the problem that /healthz shows."""
        await self.signer.scan()
        return await self.signer.check_health()


async def latest(db: Connection, key: Signer = FIRST) -> Checkpoint:
    """The newest checkpoint, verified: its signature, and its root against the tree of the log."""
    row = await db.fetchrow("SELECT epoch, size, note FROM log_latest")
    assert row is not None
    epoch = await load_epoch(db)
    checkpoint = open_checkpoint(Note.parse(row["note"]), verifier_key(epoch, key))
    hashes = await load_hashes(db, epoch, root_nodes(checkpoint.size), checkpoint.size)
    assert checkpoint == Checkpoint(epoch.origin, row["size"], tree_root(checkpoint.size, hashes))
    return checkpoint


async def test_the_newest_checkpoint_covers_the_log(pool: Pool, db: Connection, tmp_path: Path) -> None:
    process = Process(pool, tmp_path)
    for size in (0, 1, 300, 300, 1000):
        await fill(db, size)
        assert await process.scan() is None
        assert (await latest(db)).size == size


async def test_a_checkpoint_a_minute_is_kept_here_and_there(pool: Pool, db: Connection, tmp_path: Path) -> None:
    process = Process(pool, tmp_path)
    await process.scan()
    for size, ahead in ((10, 0), (20, KEEP_EVERY_S - 1), (30, KEEP_EVERY_S + 1), (30, 9 * KEEP_EVERY_S)):
        await fill(db, size)
        process.clock.skip(ahead)
        await process.scan()
        process.clock.skip(-ahead)
    kept = await db.fetch("SELECT epoch, size, note FROM log_checkpoints ORDER BY size")
    assert [(row["epoch"], row["size"]) for row in kept] == [(1, 10), (1, 30)]
    key = VerifierKey.parse((tmp_path / "log.vkey").read_text().strip())
    for row in kept:
        assert open_checkpoint(Note.parse(row["note"]), key).size == row["size"]
    assert (tmp_path / "latest.checkpoint").read_text() == kept[-1]["note"]
    days = "".join(path.read_text() for path in sorted((tmp_path / "checkpoints").iterdir()))
    assert days == "".join(f"{row['note']}\n" for row in kept)


async def test_the_newest_checkpoint_of_a_log_that_rests_is_kept_once(
    pool: Pool, db: Connection, tmp_path: Path
) -> None:
    process = Process(pool, tmp_path)
    for size, ahead in ((10, 0), (20, 5), (20, KEEP_EVERY_S - 6), (20, 2), (20, KEEP_EVERY_S + 1)):
        await fill(db, size)
        process.clock.skip(ahead)
        await process.scan()
    assert [row["size"] for row in await db.fetch("SELECT size FROM log_checkpoints ORDER BY size")] == [10, 20]
    days = "".join(path.read_text() for path in sorted((tmp_path / "checkpoints").iterdir()))
    assert days.count("everthread/") == 4


async def test_a_folder_that_is_full_holds_up_nothing(pool: Pool, db: Connection, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    process = Process(pool, tmp_path / "file")
    await fill(db, 10)
    assert await process.scan() is None
    assert (await latest(db)).size == 10


async def test_one_process_signs_and_another_takes_over(pool: Pool, db: Connection, tmp_path: Path) -> None:
    first = Process(pool, tmp_path)
    second = Process(pool, tmp_path, processes=Processes(2, frozenset({1, 2})))
    for process in (first, second):
        assert await process.scan() is None
    await fill(db, 10)
    assert await second.scan() is None
    assert await db.fetchval("SELECT size FROM log_latest") == 0
    second.seconds += BYPASS_AFTER_S + 0.1
    assert await second.scan() is None
    assert (await latest(db)).size == 10
    await first.scan()
    assert (await latest(db)).size == 10


class SlowSigner:
    """A key whose answer is late: `meanwhile` happens before it."""

    def __init__(self, meanwhile: Callable[[], Awaitable[object]]) -> None:
        self.public_key = FIRST.public_key
        self._meanwhile = meanwhile

    async def sign(self, message: bytes) -> bytes:
        await self._meanwhile()
        return await FIRST.sign(message)


async def test_a_process_that_was_slow_takes_the_checkpoint_of_another_for_no_older_state(
    pool: Pool, db: Connection, tmp_path: Path
) -> None:
    """Killed processes let another one lead, which keeps a larger checkpoint before the first one has kept its own."""
    clock, halted, kept_by_others = WallClock(), list[str](), list[int]()

    async def keep_more() -> None:
        for size in kept_by_others:
            await fill(db, size)
            await Process(pool, tmp_path, clock=clock).scan()
            # The database takes the checkpoint of the slow process, as if it came just before the larger one.
            await db.execute("UPDATE log_latest SET size = 5")

    slow = Process(pool, tmp_path, key=SlowSigner(keep_more), clock=clock, on_regression=halted.append)
    await fill(db, 5)
    await slow.scan()
    clock.skip(KEEP_EVERY_S + 1)
    await fill(db, 10)
    kept_by_others.append(20)
    assert await slow.scan() is None
    assert halted == []
    assert Checkpoint.parse(Note.parse((tmp_path / "latest.checkpoint").read_text()).text).size == 20
    await fill(db, 30)
    assert await Process(pool, tmp_path, on_regression=halted.append).scan() is None
    assert (await latest(db)).size == 30


async def test_a_restart_goes_on(pool: Pool, db: Connection, tmp_path: Path) -> None:
    for size in (10, 1000, 1001):
        await fill(db, size)
        assert await Process(pool, tmp_path).scan() is None
        assert (await latest(db)).size == size


async def use_key(pool: Pool, db: Connection, key: LocalSigner, process: int) -> None:
    """Records a key, as a process does that starts with it. The event is not sealed."""
    origin = Origin(INSTALLATION_PROJECT, ProcessActor(process))
    command = UseLogKey(str(verifier_key(await load_epoch(db), key)))
    await writer(pool).write(INSTALLATION, origin, INSTALLATION_ID, command)


async def test_a_new_key_replaces_the_old_one(pool: Pool, db: Connection, tmp_path: Path) -> None:
    old, new = Process(pool, tmp_path), Process(pool, tmp_path, SECOND, Processes(2, frozenset({1, 2})))
    await use_key(pool, db, FIRST, 1)
    await fill(db, 10)
    assert await old.scan() is None
    await use_key(pool, db, SECOND, 2)
    superseded = "this process signs no checkpoint: a server with another key started on this database"
    for size in (20, 30):
        await fill(db, size)
        assert await old.scan() == superseded, "although it has the lowest number"
        assert await new.scan() is None
        assert (await latest(db, SECOND)).size == size, "each second"
    assert (tmp_path / KEY).read_text() == f"{verifier_key(await load_epoch(db), SECOND)}\n"
    await use_key(pool, db, FIRST, 1)
    assert await new.scan() == superseded
    assert await old.scan() is None
    assert (await latest(db)).size == 30, "the key is in use again"


async def test_an_old_key_that_signs_late_does_no_harm(
    pool: Pool, db: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process is frozen while it signs, and another one records a new key and signs with it."""
    key = LocalSigner(Ed25519PrivateKey.from_private_bytes(bytes([3]) * 32))
    old, new = Process(pool, tmp_path, key), Process(pool, tmp_path, SECOND, Processes(2, frozenset({1, 2})))
    await use_key(pool, db, key, 1)
    await fill(db, 10)
    await old.scan()

    async def sign_late(message: bytes) -> bytes:
        await use_key(pool, db, SECOND, 2)
        assert await new.scan() is None
        return await LocalSigner.sign(key, message)

    await fill(db, 20)
    monkeypatch.setattr(key, "sign", sign_late)
    await old.scan()
    assert (await latest(db, SECOND)).size == 20
    kept = [row["note"] for row in await db.fetch("SELECT note FROM log_checkpoints ORDER BY size")]
    assert len(kept) == 1, "the old key keeps no checkpoint after the new one is in use"


async def test_a_changed_log_is_not_signed(pool: Pool, db: Connection, tmp_path: Path) -> None:
    await fill(db, 600)
    await Process(pool, tmp_path).scan()
    await db.execute(
        "UPDATE log_ranges SET leaves = set_byte(leaves, 0, get_byte(leaves, 0) # 1) WHERE first_index = 560"
    )
    await fill(db, 700)
    process = Process(pool, tmp_path)
    reason = "the log does not begin with the 600 events of its newest checkpoint"
    assert await process.scan() == f"no checkpoint is signed: {reason}"
    assert await process.scan() == f"no checkpoint is signed: {reason}"
    assert await db.fetchval("SELECT size FROM log_latest") == 600


async def test_an_older_state_of_the_database_is_not_signed(pool: Pool, db: Connection, tmp_path: Path) -> None:
    process = Process(pool, tmp_path)
    await fill(db, 70)
    await process.scan()
    await db.execute("DELETE FROM log_ranges WHERE first_index >= 35")
    problem = "no checkpoint is signed: the log has 35 events, and "
    assert await Process(pool, tmp_path).scan() == f"{problem}its newest checkpoint is of 70"
    await db.execute("UPDATE log_latest SET size = 30, note = NULL")
    assert await process.scan() == f"{problem}had 70: the database went back to an older state"
    assert await db.fetchval("SELECT size FROM log_latest") == 30


async def test_a_checkpoint_that_cannot_be_read_is_reported(pool: Pool, db: Connection, tmp_path: Path) -> None:
    await fill(db, 7)
    await Process(pool, tmp_path).scan()
    await db.execute("UPDATE log_latest SET note = 'hello'")
    problem = await Process(pool, tmp_path).scan()
    assert problem is not None
    assert "the newest checkpoint cannot be read" in problem


async def test_a_failed_signature_is_reported_and_tried_again(
    pool: Pool, db: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(message: bytes) -> bytes:
        raise SigningError("the signing command ended with 1: no token")

    key = LocalSigner(Ed25519PrivateKey.from_private_bytes(bytes([3]) * 32))
    process = Process(pool, tmp_path, key)
    await fill(db, 7)
    with monkeypatch.context() as patch:
        patch.setattr(key, "sign", fail)
        assert await process.scan() == "no checkpoint is signed: the signing command ended with 1: no token"
    assert await process.scan() is None
    assert (await latest(db, key)).size == 7
