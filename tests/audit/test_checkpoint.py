"""Checkpoints and requests to witnesses, as https://c2sp.org/tlog-checkpoint and tlog-witness describe them."""

from __future__ import annotations

import pytest

from service.audit.checkpoint import (
    Checkpoint,
    add_cosignatures,
    open_checkpoint,
    parse_witness_request,
    render_witness_request,
)
from service.audit.notes import (
    FormatError,
    Note,
    NoteSignature,
    SignatureError,
    SignatureType,
    VerifierKey,
    cosigned_message,
    decode_base64,
    encode_cosignature,
)
from tests.audit.logs import LOG_KEY, ORIGIN, sign_note
from tests.audit.test_notes import WITNESS, WITNESS_KEY, cosign

# The example of the specification.
NAME = "example.com/behind-the-sofa"
TEXT = f"{NAME}\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
REQUEST = f"""old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

{TEXT}
— {NAME} Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— {NAME} opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=
"""
OURS = Checkpoint(ORIGIN, 3, bytes(range(32)))


def test_the_checkpoint_of_the_specification_is_read() -> None:
    checkpoint = Checkpoint.parse(TEXT)
    root = decode_base64("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=")
    assert checkpoint == Checkpoint(NAME, 20_852_163, root)
    assert checkpoint.text == TEXT
    assert Checkpoint.parse(TEXT + "more\n").extensions == ("more",)
    assert Checkpoint.parse(TEXT + "more\n").text == TEXT + "more\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        TEXT[:-1],
        TEXT + "\n",
        "a\n1\n",
        TEXT.replace("20852163", "020852163"),
        TEXT.replace("20852163", "-1"),
        TEXT.replace("20852163", "1.0"),
        TEXT.replace("20852163", "9223372036854775808"),
        TEXT.replace("20852163", "٣"),
        TEXT.replace("CsUY", ""),
        TEXT.replace(NAME, ""),
    ],
)
def test_a_text_that_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        Checkpoint.parse(text)


def test_a_checkpoint_is_opened_with_the_key_of_its_log_alone() -> None:
    note = sign_note(OURS.text)
    assert open_checkpoint(note, LOG_KEY) == OURS
    with pytest.raises(SignatureError):
        open_checkpoint(Note(note.text.replace("3", "4", 1), note.signatures), LOG_KEY)
    other = VerifierKey("other.example", SignatureType.LOG, WITNESS.public_key().public_bytes_raw())
    with pytest.raises(SignatureError):
        open_checkpoint(note, other)
    forged = Note(note.text, (NoteSignature.of(other, WITNESS.sign(note.text.encode())),))
    with pytest.raises(FormatError, match=r"is of the log .*, not of other\.example"):
        open_checkpoint(forged, other)


def test_the_request_of_the_specification_is_read_and_written() -> None:
    old, proof, note = parse_witness_request(REQUEST)
    assert (old, len(proof), Checkpoint.parse(note.text).size) == (20_852_014, 4, 20_852_163)
    assert render_witness_request(old, proof, note) == REQUEST
    assert parse_witness_request(render_witness_request(0, [], note)) == (0, [], note)


@pytest.mark.parametrize(
    "body",
    [
        "",
        REQUEST.replace("old ", "new "),
        REQUEST.replace("old 20852014", "old 020852014"),
        REQUEST.replace("PlRN", ""),
        REQUEST.replace("PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n", f"{'A' * 43}=\n" * 64),
    ],
)
def test_a_request_that_is_none_is_refused(body: str) -> None:
    with pytest.raises(FormatError):
        parse_witness_request(body)


def test_the_cosignatures_of_a_witness_are_added() -> None:
    note = sign_note(OURS.text)
    unknown = NoteSignature("witness.example/w9", b"abcd", bytes(72))
    once = add_cosignatures(note, f"{unknown}{cosign(note, 1)}", [WITNESS_KEY])
    assert set(once.verify([LOG_KEY, WITNESS_KEY])) == {LOG_KEY, WITNESS_KEY}
    assert len(once.signatures) == 2
    twice = add_cosignatures(once, str(cosign(note, 2)), [WITNESS_KEY])
    assert twice.signatures == (note.signatures[0], cosign(note, 2))


def test_a_wrong_answer_of_a_witness_is_refused() -> None:
    note = sign_note(OURS.text)
    wrong = NoteSignature.of(WITNESS_KEY, encode_cosignature(1, WITNESS.sign(cosigned_message("another\n", 1))))
    for answer in (str(wrong), str(NoteSignature("witness.example/w9", b"abcd", bytes(72)))):
        with pytest.raises(SignatureError):
            add_cosignatures(note, answer, [WITNESS_KEY])
    for answer in ("", "hello\n", f"\n{cosign(note, 1)}x"):
        with pytest.raises(FormatError):
            add_cosignatures(note, answer, [WITNESS_KEY])
