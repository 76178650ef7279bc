"""The file verify_proof.py, which an auditor runs with Python and `cryptography` alone."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.audit import verify_proof
from service.audit.checkpoint import add_cosignatures
from service.audit.notes import VerifierKey
from tests.audit.logs import LOG_KEY, sign_note
from tests.audit.proofs import LOG, event_proof, growth_proof
from tests.audit.test_notes import KEY, ML_DSA_WITNESS_KEY, WITNESS_KEY, cosign, cosign_by_ml_dsa

FILE = Path(verify_proof.__file__)


class Auditor:
    """Runs the file's `main` on texts, in a folder of its own."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys

    def file(self, name: str, text: str | bytes) -> str:
        path = self.folder / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return str(path)

    def verify(self, proof: str | bytes, *arguments: str, key: VerifierKey | str = LOG_KEY) -> tuple[int, str]:
        code = verify_proof.main([self.file("proof", proof), "--key", str(key), *arguments])
        return code, self._capsys.readouterr().out


@pytest.fixture
def auditor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Auditor:
    return Auditor(tmp_path, capsys)


def test_an_event_is_proven_and_shown(auditor: Auditor) -> None:
    code, output = auditor.verify(event_proof(4))
    assert code == 0
    assert output.startswith(
        f"PROVEN: this event is number 4 (from 0) of the log {LOG_KEY.name}, and was not changed.\n"
    )
    for line in (
        "stream_id         thread_1",
        "version           5",
        "at                2026-11-28T12:00:00.000005+00:00",
    ):
        assert f"  {line}\n" in output
    assert '  content           {"type":"message.added","text":"Grüße \\x9b31m"}\n' in output
    assert "The log signed a checkpoint of 7 events.\n" in output


def test_an_event_of_older_software_is_proven(auditor: Auditor) -> None:
    code, output = auditor.verify(event_proof(0))
    assert code == 0
    assert "  algorithm         1\n" in output
    assert "  client " not in output
    output = auditor.verify(event_proof(3))[1]
    assert "  algorithm         2\n" in output
    assert f"  client            {'00' * 32}\n" in output


def test_an_event_is_proven_without_its_content(auditor: Auditor) -> None:
    code, output = auditor.verify(event_proof(3, has_content=False))
    assert code == 0
    assert "The content is not in the proof." in output
    assert "request_id        none" in output
    assert "Grüße" not in output


def test_growth_is_proven(auditor: Auditor) -> None:
    for old in range(LOG.size + 1):
        for new in range(old, LOG.size + 1):
            file = auditor.file("old", str(LOG.checkpoint(old)))
            code, output = auditor.verify(growth_proof(old, new), "--old", file)
            assert code == 0
            assert output.startswith(f"PROVEN: the first {old} events of the log {LOG_KEY.name} are still the same")


def test_every_place_of_every_log_is_proven(auditor: Auditor) -> None:
    for size in range(1, LOG.size + 1):
        for index in range(size):
            assert auditor.verify(event_proof(index, size=size))[0] == 0


PROOF, GROWTH = event_proof(4).encode(), growth_proof(3, 7).encode()


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(PROOF) * 8 - 1))
def test_a_proof_of_an_event_with_a_changed_bit_is_refused(bit: int) -> None:
    assert not _is_proven(_flip(PROOF, bit))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(GROWTH) * 8 - 1))
def test_a_proof_of_growth_with_a_changed_bit_is_refused(bit: int) -> None:
    assert not _is_proven(_flip(GROWTH, bit))


def test_the_unchanged_proofs_are_proven() -> None:
    assert _is_proven(PROOF)
    assert _is_proven(GROWTH)


def _flip(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def _is_proven(data: bytes) -> bool:
    log = verify_proof.parse_key(str(LOG_KEY), {verify_proof.LOG: 32})
    try:
        text = data.decode()
        if text.startswith("c2sp.org/tlog-proof@v1\n"):
            return bool(verify_proof.verify_event(text, log, [], 0))
        return text.startswith("old ") and bool(verify_proof.verify_growth(text, str(LOG.checkpoint(3)), log, [], 0))
    except (UnicodeDecodeError, verify_proof.NotProvenError):
        return False


def test_a_history_that_was_changed_is_not_proven(auditor: Auditor) -> None:
    forged = sign_note(LOG.checkpoint(3).text.replace("\n3\n", "\n2\n"))
    code, output = auditor.verify(growth_proof(2, 7), "--old", auditor.file("old", str(forged)))
    assert (code, output) == (
        1,
        "NOT PROVEN: the newer log does not begin with the older one: its history was changed\n",
    )
    shrunk = auditor.file("old", str(LOG.checkpoint(5)))
    code, output = auditor.verify(str(growth_proof(3, 3)).replace("old 3", "old 5"), "--old", shrunk)
    assert (code, output) == (1, "NOT PROVEN: the log has shrunk from 5 events to 3\n")
    code, output = auditor.verify(growth_proof(4, 7), "--old", shrunk)
    assert (code, output) == (1, "NOT PROVEN: the proof is for an older log of 4 events, and --old has 5\n")


def test_another_log_or_key_is_not_proven(auditor: Auditor) -> None:
    code, output = auditor.verify(event_proof(4), key=KEY)
    assert code == 1
    assert "example.com/foo did not sign the checkpoint with the key that you gave" in output
    code, output = auditor.verify(event_proof(4), key=WITNESS_KEY)
    assert "not the public key of a log" in output
    code, output = auditor.verify(event_proof(4), "--witness", str(LOG_KEY))
    assert "not the public key of a witness" in output


def test_witnesses_are_counted_by_their_keys(auditor: Auditor) -> None:
    note = LOG.checkpoint()
    line = str(cosign(note, 1_679_315_147))
    cosigned = event_proof(4).replace(str(note), str(add_cosignatures(note, line, [WITNESS_KEY])))
    arguments = ["--witness", str(WITNESS_KEY), "--witness", auditor.file("witness", f"{WITNESS_KEY}\n")]
    code, output = auditor.verify(cosigned, *arguments, "--quorum", "1")
    assert code == 0
    assert "The witness witness.example/w1 cosigned it at 2023-03-20T12:25:47+00:00.\n" in output
    assert auditor.verify(cosigned, *arguments, "--quorum", "2") == (
        1,
        "NOT PROVEN: 1 witnesses cosigned the checkpoint, and 2 must\n",
    )
    assert auditor.verify(event_proof(4), *arguments, "--quorum", "1")[0] == 1
    by_ml_dsa = str(cosign_by_ml_dsa(note, 1_679_315_147))
    both = cosigned.replace(line, line + by_ml_dsa)
    code, output = auditor.verify(both, *arguments, "--witness", str(ML_DSA_WITNESS_KEY), "--quorum", "2")
    assert (code, "The witness witness.example/w2 cosigned it at 2023-03-20T12:25:47+00:00.\n" in output) == (0, True)
    other = both.replace(by_ml_dsa, str(cosign_by_ml_dsa(LOG.checkpoint(3), 1)))
    assert (
        "of witness.example/w2 on the checkpoint is wrong"
        in auditor.verify(other, "--witness", str(ML_DSA_WITNESS_KEY))[1]
    )
    forged = cosigned.replace(line, str(cosign(sign_note("x\n"), 1_679_315_147)))
    assert "signature of witness.example/w1 on the checkpoint is wrong" in auditor.verify(forged, *arguments)[1]


@pytest.mark.parametrize("proof", ["", "hello", b"\xff", "c2sp.org/tlog-proof@v1\n", "old 3\n\n"])
def test_a_file_that_is_no_proof_is_not_proven(auditor: Auditor, proof: str | bytes) -> None:
    old = auditor.file("old", str(LOG.checkpoint(3)))
    code, output = auditor.verify(proof, "--old", old)
    assert code == 1
    assert output.startswith("NOT PROVEN: ")


def test_a_wrong_command_ends_with_2(auditor: Auditor) -> None:
    for arguments in (
        ["missing", "--key", str(LOG_KEY)],
        [auditor.file("growth", growth_proof(1, 2)), "--key", str(LOG_KEY)],
    ):
        with pytest.raises(SystemExit) as ended:
            verify_proof.main(arguments)
        assert ended.value.code == 2


@pytest.mark.slow
def test_the_file_runs_alone(tmp_path: Path) -> None:
    """Runs a copy of the file with a Python that has `cryptography` and nothing of this project."""
    import cryptography

    venv.create(tmp_path / "venv", with_pip=False)
    packages = Path(cryptography.__file__).parents[1]
    alone = tmp_path / "packages"
    alone.mkdir()
    for name in ("cryptography", "cffi", "pycparser"):
        (alone / name).symlink_to(packages / name)
    for library in packages.glob("_cffi_backend*"):
        (alone / library.name).symlink_to(library)
    (tmp_path / "verify_proof.py").write_bytes(FILE.read_bytes())
    (tmp_path / "event.tlog-proof").write_text(event_proof(4))
    command = [str(tmp_path / "venv/bin/python"), "verify_proof.py", "event.tlog-proof", "--key", str(LOG_KEY)]
    environment = {"PYTHONPATH": str(alone), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("PROVEN: this event is number 4")
    assert sys.executable not in done.stdout
