"""`everthread prove` and the program that verifies its proofs, as docs/audit.md describes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.audit import verify_proof
from service.audit.attesters import AttestationCollector
from service.audit.witnesses import open_witnesses
from service.database import Pool
from sql.connection import Connection
from tests.audit.sealing import grow
from tests.audit.test_checkpoint_signer import Process
from tests.audit.witness_server import WitnessServer, running
from tests.cli.test_keys import everthread
from tests.clock import CLOCK

pytestmark = pytest.mark.slow


class Auditor:
    """Asks for proofs, and verifies them."""

    def __init__(self, folder: Path, database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._url = database_url
        self._capsys = capsys

    def prove(self, *arguments: str) -> tuple[int, str]:
        code, output, errors = everthread("prove", *arguments, EVERTHREAD_DATABASE_URL=self._url)
        return code, output or errors

    def verify(self, file: str, *arguments: str) -> tuple[int, str]:
        code = verify_proof.main([str(self.folder / file), "--key", str(self.folder / "log.vkey"), *arguments])
        return code, self._capsys.readouterr().out


@pytest.fixture
def auditor(tmp_path: Path, database_url: str, capsys: pytest.CaptureFixture[str]) -> Auditor:
    return Auditor(tmp_path, database_url, capsys)


async def test_an_event_is_proven(auditor: Auditor, pool: Pool, db: Connection, tmp_path: Path) -> None:
    await grow(pool, db)
    await Process(pool, tmp_path).scan()
    for options, shows in (([], False), (["--content"], True)):
        code, output = auditor.prove("thread_1/2", *options, "--output", str(tmp_path / "event.tlog-proof"))
        assert (code, output) == (0, f"Wrote {tmp_path / 'event.tlog-proof'}.")
        code, output = auditor.verify("event.tlog-proof")
        assert code == 0, output
        assert "stream_id         thread_1" in output
        assert ('"type":"message.added"' in output) == shows


async def test_proofs_have_the_cosignatures_of_witnesses(
    auditor: Auditor, pool: Pool, db: Connection, tmp_path: Path
) -> None:
    first = await grow(pool, db)
    process = Process(pool, tmp_path)
    await process.scan()
    (tmp_path / "first").write_text(await db.fetchval("SELECT note FROM log_latest"))
    async with running(WitnessServer()) as witness:
        witness.know((tmp_path / "log.vkey").read_text())
        collector = AttestationCollector(pool, open_witnesses(witness.setting, clock=CLOCK), clock=CLOCK)
        await collector.scan(open_witnesses(witness.setting, clock=CLOCK)[0])
    await grow(pool, db, messages=2)
    await process.scan()
    quorum = ("--witness", witness.vkey, "--quorum", "1")
    (tmp_path / "event").write_text(auditor.prove("thread_1/2")[1] + "\n")
    code, output = auditor.verify("event", *quorum)
    assert (code, f"The witness {witness.name} cosigned it" in output) == (0, True), output
    assert f"The log signed a checkpoint of {first} events." in output
    for new in ("latest", str(first)):
        (tmp_path / "growth").write_text(auditor.prove("--consistency", "1", new)[1] + "\n")
        assert (tmp_path / "growth").read_text().count(f"— {witness.name} ") == 1
    # No checkpoint that covers this event is cosigned yet.
    (tmp_path / "event").write_text(auditor.prove(f"thread_1/{first + 1}")[1] + "\n")
    assert auditor.verify("event")[0] == 0
    code, output = auditor.verify("event", *quorum)
    assert (code, "0 witnesses cosigned the checkpoint, and 1 must" in output) == (1, True)


async def test_an_event_that_was_changed_has_no_proof(
    auditor: Auditor, pool: Pool, db: Connection, tmp_path: Path
) -> None:
    await grow(pool, db)
    await Process(pool, tmp_path).scan()
    await db.execute("UPDATE events SET content = content || ' ' WHERE stream_id = 'thread_1' AND version = 3")
    await db.execute("UPDATE events SET actor = 'key:other' WHERE stream_id = 'thread_1' AND version = 4")
    assert auditor.prove("thread_1/3")[0] == 0
    code, output = auditor.prove("thread_1/3", "--content")
    assert (code, "The log is broken: the content of version 3 of thread_1 was changed" in output) == (1, True)
    code, output = auditor.prove("thread_1/4")
    assert (code, "The log is broken: the event was changed" in output) == (1, True)


async def test_growth_is_proven(auditor: Auditor, pool: Pool, db: Connection, tmp_path: Path) -> None:
    process = Process(pool, tmp_path)
    first = await grow(pool, db)
    await process.scan()
    (tmp_path / "first").write_text(await db.fetchval("SELECT note FROM log_latest"))
    await grow(pool, db, messages=20)
    await process.scan()
    (tmp_path / "second").write_text(await db.fetchval("SELECT note FROM log_latest"))
    for old, new in ((tmp_path / "first", "latest"), (first, tmp_path / "second"), (first, first)):
        code, proof = auditor.prove("--consistency", str(old), str(new))
        assert code == 0, proof
        (tmp_path / "growth").write_text(f"{proof}\n")
        code, output = auditor.verify("growth", "--old", str(tmp_path / "first"))
        assert code == 0, output
    await db.execute("UPDATE log_ranges SET leaves = sha256('') WHERE first_index = 0")
    code, output = auditor.prove("--consistency", str(tmp_path / "first"), "latest")
    assert (code, "The log is broken" in output, "its history was changed" in output) == (1, True, True)


async def test_a_proof_that_does_not_exist_is_refused(
    auditor: Auditor, pool: Pool, db: Connection, tmp_path: Path
) -> None:
    size = await grow(pool, db)
    assert "no checkpoint of epoch 1 was signed yet" in auditor.prove("thread_1/1")[1]
    await Process(pool, tmp_path).scan()
    for arguments, reason in (
        (["thread_1/100"], "no checkpoint covers version 100 of thread_1"),
        (["thread_9/1"], "no checkpoint covers version 1 of thread_9"),
        (["thread_1"], "An event is named by its stream and version"),
        (["thread_1/0"], "An event is named by its stream and version"),
        ([], "Name an event"),
        (["thread_1/1", "--verifier"], "Name an event"),
        (["--verifier", "--content"], "--content needs an event"),
        (["--consistency", str(size + 1), "latest"], f"has {size} events, and the older one {size + 1}"),
        (["--consistency", "1", "2"], "no checkpoint of 2 events is kept"),
        (["--consistency", "missing", "latest"], "Cannot read the checkpoint missing: No such file"),
        (["--consistency", __file__, "latest"], "is no checkpoint"),
    ):
        code, output = auditor.prove(*arguments)
        assert (code, reason in output) == (1, True), output


def test_the_verifier_is_printed(auditor: Auditor) -> None:
    code, output = auditor.prove("--verifier")
    assert code == 0
    assert output.strip() == Path(verify_proof.__file__).read_text().strip()
