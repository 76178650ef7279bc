"""A database that went back to an older state is noticed: at the start, and while a process runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from events.actors import ProcessActor
from events.envelope import Origin
from events.installation import INSTALLATION_ID, INSTALLATION_PROJECT, CreateInstallation
from events.streams import INSTALLATION
from service.audit import checkpoint_signer
from service.audit.checkpoint import Checkpoint
from service.audit.checkpoint_signer import verifier_key
from service.audit.kept_checkpoints import LATEST, CheckpointFolder
from service.audit.log_tree import load_epoch
from service.audit.notes import Note
from service.audit.restores import EPOCH_INDEXES, check_history
from service.audit.sequencer import Sequencer
from service.database import Pool
from service.errors import StartupError
from sql.connection import Connection
from tests.audit.sealing import fill
from tests.audit.test_checkpoint_signer import FIRST, Process, Processes, latest
from tests.conftest import StartServer
from tests.http.helpers import thread_with
from tests.http.keys import writer

ORIGIN = Origin(INSTALLATION_PROJECT, ProcessActor(1))
GO_BACK = "DELETE FROM log_ranges WHERE first_index >= $1"


@pytest.fixture
def signer(pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Process:
    """A process that keeps each checkpoint."""
    monkeypatch.setattr(checkpoint_signer, "KEEP_EVERY_S", 0)
    return Process(pool, tmp_path)


async def check(pool: Pool, folder: Path, reason: str | None = None) -> None:
    await check_history(writer(pool), CheckpointFolder(folder), ORIGIN, reason=reason)


async def test_a_log_that_grows_starts(pool: Pool, db: Connection, tmp_path: Path, signer: Process) -> None:
    await check(pool, tmp_path)
    for size in (0, 5, 300):
        await fill(db, size)
        await signer.scan()
        await check(pool, tmp_path)
    await fill(db, 310)
    await check(pool, tmp_path)


async def test_an_older_log_does_not_start(pool: Pool, db: Connection, tmp_path: Path, signer: Process) -> None:
    await fill(db, 70)
    await signer.scan()
    await db.execute(GO_BACK, 49)
    with pytest.raises(StartupError, match=r"The log has 49 events, and a checkpoint of 70 .* with --restored"):
        await check(pool, tmp_path)


async def test_another_history_does_not_start(pool: Pool, db: Connection, tmp_path: Path, signer: Process) -> None:
    await fill(db, 70)
    await signer.scan()
    await db.execute("UPDATE log_ranges SET leaves = sha256('x') || substr(leaves, 33) WHERE first_index = 7")
    with pytest.raises(StartupError, match="The first 70 events of the log are not those of the checkpoint"):
        await check(pool, tmp_path)


async def test_a_reason_begins_an_epoch(pool: Pool, db: Connection, tmp_path: Path, signer: Process) -> None:
    await writer(pool).write(INSTALLATION, ORIGIN, INSTALLATION_ID, CreateInstallation("inst_1"))
    await check(pool, tmp_path, "No checkpoint is known.")
    first = await load_epoch(db)
    assert (first.epoch, first.first_index) == (2, EPOCH_INDEXES)
    order = "SELECT types FROM log_ranges ORDER BY first_index"
    assert [row["types"] for row in await db.fetch(order)] == [
        ["epoch.begun"],
        ["installation.created", "epoch.begun"],
    ], "the event that begins the epoch comes before those that waited"
    assert await db.fetchval("SELECT count(*) FROM log_pending") == 0
    await fill(db, EPOCH_INDEXES + 70)
    await signer.scan()
    signed = (tmp_path / LATEST).read_text()
    await db.execute(GO_BACK, EPOCH_INDEXES + 45)
    await check(pool, tmp_path, "The disk failed.")
    epoch = await load_epoch(db)
    assert (epoch.epoch, epoch.origin) == (3, first.origin[:-1] + "3")
    [event] = await db.fetch(
        "SELECT content, leaf FROM events WHERE stream_id = $1 ORDER BY version DESC LIMIT 1", INSTALLATION_ID
    )
    found = await db.fetchval("SELECT leaves FROM log_ranges WHERE first_index = $1", epoch.first_index)
    assert found == event["leaf"], "the first leaf of the epoch is the event"
    for part in (first.origin, "The disk failed.", signed.splitlines()[2]):
        assert part.encode() in event["content"]
    assert await Process(pool, tmp_path).scan() is None
    checkpoint = await latest(db)
    assert (checkpoint.origin, checkpoint.size) == (epoch.origin, 1)
    await check(pool, tmp_path)
    await check(pool, tmp_path, "The disk failed.")
    assert (await load_epoch(db)).epoch == 3, "the reason is left in the settings, and there is nothing to restore"


async def test_a_log_of_an_older_epoch_does_not_start(
    pool: Pool, db: Connection, tmp_path: Path, signer: Process
) -> None:
    await check(pool, tmp_path, "One restore.")
    await signer.scan()
    await db.execute("DELETE FROM log_epochs WHERE epoch = 2")
    with pytest.raises(StartupError, match="The log is of epoch 1, and epoch 2 has begun"):
        await check(pool, tmp_path)
    await check(pool, tmp_path, "Another restore.")
    assert (await load_epoch(db)).epoch == 3


async def test_a_checkpoint_of_another_installation_is_left_alone(pool: Pool, db: Connection, tmp_path: Path) -> None:
    text = Checkpoint("everthread/another/1", 5, bytes(32)).text
    (tmp_path / LATEST).write_text(f"{text}\n— everthread/another/1 AAAAAAA=\n")
    await check(pool, tmp_path)


async def test_a_checkpoint_that_cannot_be_read_is_named(pool: Pool, db: Connection, tmp_path: Path) -> None:
    (tmp_path / LATEST).write_text("nothing")
    with pytest.raises(StartupError, match=f"{LATEST} cannot be read"):
        await check(pool, tmp_path)
    await check(pool, tmp_path, "The file was torn.")
    assert (await load_epoch(db)).epoch == 2


async def test_an_epoch_without_its_event_does_not_start(
    pool: Pool, db: Connection, tmp_path: Path, signer: Process
) -> None:
    """A forger would begin an epoch, so that the older checkpoint is not compared any more."""
    await fill(db, 70)
    await signer.scan()
    await db.execute("UPDATE log_ranges SET leaves = sha256('x') || substr(leaves, 33) WHERE first_index = 7")
    origin = (await load_epoch(db)).origin
    await db.execute("INSERT INTO log_epochs (epoch, origin, first_index) VALUES (2, $1, 70)", f"{origin[:-1]}2")
    with pytest.raises(StartupError, match="Epoch 2 of the log does not begin with its event"):
        await check(pool, tmp_path)


@pytest.mark.parametrize("forgery", ["size = 9000000000, note = NULL", "size = 9000000000", "note = NULL"])
async def test_a_forged_newest_checkpoint_is_noticed(pool: Pool, db: Connection, signer: Process, forgery: str) -> None:
    await fill(db, 70)
    assert await signer.scan() is None
    await db.execute(f"UPDATE log_latest SET {forgery}")
    await fill(db, 90)
    assert "no checkpoint is signed" in str(await signer.scan())


async def test_a_process_that_does_not_lead_notices_it_too(pool: Pool, db: Connection, tmp_path: Path) -> None:
    halted: list[str] = []
    follower = Process(pool, tmp_path, processes=Processes(2, frozenset({1, 2})), on_regression=halted.append)
    leader = Process(pool, tmp_path)
    await fill(db, 50)
    for process in (leader, follower):
        assert await process.scan() is None
    await fill(db, 70)
    for process in (leader, follower):
        assert await process.scan() is None
    await db.execute(GO_BACK, 49)
    await fill(db, 60)
    follower.seconds += 60
    assert "older state" in str(await follower.scan())
    assert len(halted) == 1


async def test_a_larger_checkpoint_beside_the_key_is_never_replaced(
    pool: Pool, db: Connection, tmp_path: Path, signer: Process
) -> None:
    await fill(db, 70)
    await signer.scan()
    kept = (tmp_path / LATEST).read_text()
    await db.execute(GO_BACK, 49)
    await db.execute("UPDATE log_latest SET size = 0, note = NULL")
    await db.execute("DELETE FROM log_checkpoints")
    assert "a checkpoint of 70 was kept" in str(await Process(pool, tmp_path).scan())
    assert (tmp_path / LATEST).read_text() == kept


@pytest.mark.parametrize("grown_to", [49, 70, 90])
async def test_a_running_process_stops_sealing(pool: Pool, db: Connection, tmp_path: Path, grown_to: int) -> None:
    """A failover leads to a replica that lacks the newest events. It may grow before anybody looks."""
    sequencer = Sequencer(pool, Processes())
    process = Process(pool, tmp_path, on_regression=sequencer.halt)
    await fill(db, 70)
    assert await process.scan() is None
    assert await sequencer.check_health() is None
    await db.execute(GO_BACK, 49)
    await db.execute(
        """
        INSERT INTO log_ranges
        SELECT number, 1, now(), 'thread_x' || number, 1, 'proj_1', 'cli', NULL, ARRAY ['x'], sha256(int8send(-number))
        FROM generate_series(49, $1::bigint - 1) AS number
        """,
        grown_to,
    )
    assert "older state" in str(await process.scan())
    assert "no event is sealed" in str(await sequencer.check_health())
    before = await db.fetchval("SELECT count(*) FROM log_ranges")
    await writer(pool).write(INSTALLATION, ORIGIN, INSTALLATION_ID, CreateInstallation("inst_1"))
    await sequencer.scan()
    assert await db.fetchval("SELECT count(*) FROM log_ranges") == before


async def test_a_server_after_a_restore(
    start_server: StartServer, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_signer, "KEEP_EVERY_S", 0)
    monkeypatch.setattr(checkpoint_signer, "SIGN_EVERY_S", 0.02)
    async with start_server() as client:
        thread = await thread_with(client, "Hi")
        folder = next(tmp_path.rglob("audit"))
        count = "SELECT count(*) FROM log_ranges WHERE stream_id = $1"
        while not await pool.fetchval(count, thread["id"]) or open_size(folder) < await pool.fetchval(
            "SELECT sum(count) FROM log_ranges"
        ):
            await client.get(f"/threads/{thread['id']}")
    async with pool.acquire() as db:
        epoch = await load_epoch(db)
        await db.execute("DELETE FROM log_ranges WHERE stream_id = $1", thread["id"])
        # The thread's events are the last ones of the log.
        assert await db.fetchval("SELECT max(first_index + count) FROM log_ranges") < open_size(folder)
    assert (epoch.epoch, verifier_key(epoch, FIRST).name) == (1, epoch.origin)
    with pytest.RaisesGroup(pytest.RaisesExc(StartupError, match="--restored"), flatten_subgroups=True):
        async with start_server():
            pass
    async with start_server(restored="The disk failed.") as client:
        assert (await client.get(f"/threads/{thread['id']}"))["id"] == thread["id"]
    async with pool.acquire() as db:
        assert (await load_epoch(db)).epoch == 2


def open_size(folder: Path) -> int:
    """Returns the size of the newest checkpoint of a folder, 0 if there is none."""
    file = folder / LATEST
    return Checkpoint.parse(Note.parse(file.read_text()).text).size if file.exists() else 0
