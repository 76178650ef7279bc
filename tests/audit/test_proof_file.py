"""Proofs of events as files, as https://c2sp.org/tlog-proof and docs/log-format.md describe them."""

from __future__ import annotations

import pytest

from service.audit.checkpoint import open_checkpoint
from service.audit.merkle import hash_entry, is_included
from service.audit.notes import FormatError
from service.audit.proof_file import Evidence, InclusionProof
from tests.audit.logs import LOG_KEY
from tests.audit.proofs import JSON, LOG, SALTS, event_proof


@pytest.mark.parametrize("size", range(1, LOG.size + 1))
def test_a_proof_is_read_as_it_was_written(size: int) -> None:
    for index in range(size):
        text = event_proof(index, size=size)
        proof = InclusionProof.parse(text)
        assert str(proof) == text
        checkpoint = open_checkpoint(proof.note, LOG_KEY)
        evidence = Evidence.parse(proof.extra or b"")
        assert evidence == Evidence(LOG.entries[index], SALTS[index], JSON)
        leaf = hash_entry(evidence.entry)
        assert is_included(leaf, index, size=size, root=checkpoint.root, proof=proof.hashes)


def test_the_lines_are_those_of_the_specification() -> None:
    head, _, note = event_proof(5, has_content=False).partition("\n\n")
    lines = head.split("\n")
    assert [line.partition(" ")[0] for line in lines[:3]] == ["c2sp.org/tlog-proof@v1", "extra", "index"]
    assert lines[2] == "index 5"
    assert all(len(line) == 44 for line in lines[3:])
    assert note == str(LOG.checkpoint())


def test_a_proof_needs_no_extra_data() -> None:
    proof = InclusionProof(0, [], LOG.checkpoint(1))
    assert "extra" not in str(proof)
    assert InclusionProof.parse(str(proof)).extra is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("@v1", "@v2"),
        ("extra ", "Extra "),
        ("index 5", "index 05"),
        ("index 5", "Index 5"),
        ("index 5", "index"),
        ("index 5\n", "index 5\nAAAA\n"),
        ("\n\neverthread", "\neverthread"),
        ("— ", "-- "),
    ],
)
def test_a_text_that_is_no_proof_is_refused(old: str, new: str) -> None:
    text = event_proof(5)
    assert old in text
    with pytest.raises(FormatError):
        InclusionProof.parse(text.replace(old, new, 1))


def test_evidence_is_an_entry_or_an_entry_with_its_content() -> None:
    for evidence in (Evidence(b"e"), Evidence(b"e", b"s", b"j"), Evidence(b"", b"", b"")):
        assert Evidence.parse(bytes(evidence)) == evidence
    whole = bytes(Evidence(b"e", b"s", b"j"))
    assert whole == b"everthread/evidence/1\n\0\0\0\1e\0\0\0\1s\0\0\0\1j"
    wrong = [b"", whole[1:], whole + b"x", *(whole[:end] for end in range(len(whole)))]
    wrong += [bytes(Evidence(b"e", b"s")), bytes(Evidence(b"e", json=b"j"))]
    wrong.append(whole.replace(b"\0\0\0\1e", b"\xff\xff\xff\xff"))
    for data in wrong:
        with pytest.raises(FormatError):
            Evidence.parse(data)
