"""Signed notes and their keys, as https://c2sp.org/signed-note describes them."""

from __future__ import annotations

import base64
import struct
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from service.audit.notes import (
    MAX_SIGNATURES,
    FormatError,
    Note,
    NoteSignature,
    SignatureError,
    SignatureType,
    VerifierKey,
    cosigned_message,
    cosigning_time,
    decode_base64,
    encode_base64,
    encode_cosignature,
)

# The example of the specification.
KEY = VerifierKey.parse("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")
NOTE = """This is an example message.

— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=
"""
# The example of Go's package golang.org/x/mod/sumdb/note.
GO_KEY = VerifierKey.parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
GO_NOTE = """If you think cryptography is the answer to your problem,
then you don't know what your problem is.

— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=
"""
WITNESS = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
WITNESS_KEY = VerifierKey("witness.example/w1", SignatureType.COSIGNATURE, WITNESS.public_key().public_bytes_raw())


ML_DSA_WITNESS = MLDSA44PrivateKey.from_seed_bytes(bytes(range(32)))
ML_DSA_WITNESS_KEY = VerifierKey(
    "witness.example/w2", SignatureType.ML_DSA_COSIGNATURE, ML_DSA_WITNESS.public_key().public_bytes_raw()
)


def cosign(note: Note, time: int) -> NoteSignature:
    signature = WITNESS.sign(cosigned_message(note.text, time))
    return NoteSignature.of(WITNESS_KEY, encode_cosignature(time, signature))


def cosign_by_ml_dsa(note: Note, time: int) -> NoteSignature:
    """Signs the structure `cosigned_message` of https://c2sp.org/tlog-cosignature, written out field by field."""
    origin, size, root = note.text.split("\n")[:3]
    structure = (
        bytes.fromhex("737562747265652f76310a00"),
        b"\x12witness.example/w2",
        struct.pack(">Q", time),
        struct.pack(">B", len(origin)) + origin.encode(),
        struct.pack(">QQ", 0, int(size)),
        base64.b64decode(root),
    )
    return NoteSignature.of(ML_DSA_WITNESS_KEY, struct.pack(">Q", time) + ML_DSA_WITNESS.sign(b"".join(structure)))


@pytest.mark.parametrize(("key", "text"), [(KEY, NOTE), (GO_KEY, GO_NOTE)])
def test_published_notes_verify(key: VerifierKey, text: str) -> None:
    note = Note.parse(text)
    assert note.verify([key]) == {key: note.signatures[0]}
    assert str(note) == text
    assert VerifierKey.parse(str(key)) == key


@settings(deadline=None)
@given(st.integers(0, len(NOTE.encode()) * 8 - 1))
def test_a_note_with_a_changed_bit_does_not_verify(bit: int) -> None:
    data = bytearray(NOTE.encode())
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises((FormatError, SignatureError, UnicodeDecodeError)):
        Note.parse(data.decode()).verify([KEY])


def test_a_cosignature_verifies_with_its_time() -> None:
    note = Note.parse(NOTE)
    line = cosign(note, 1_679_315_147)
    cosigned = Note(note.text, (*note.signatures, line))
    assert set(cosigned.verify([KEY, WITNESS_KEY])) == {KEY, WITNESS_KEY}
    assert cosigning_time(line.signature) == 1_679_315_147
    later = NoteSignature.of(WITNESS_KEY, encode_cosignature(1_679_315_148, line.signature[8:]))
    with pytest.raises(SignatureError, match=r"witness\.example/w1 is wrong"):
        Note(note.text, (*note.signatures, later)).verify([KEY, WITNESS_KEY])
    for signature in (b"", line.signature[:-1], line.signature + b"x", b"\xff" * 72):
        assert not WITNESS_KEY.is_valid(note.text, signature)


def test_a_cosignature_by_ml_dsa_is_of_the_tree_and_of_its_time() -> None:
    text = f"example.com/log\n5\n{encode_base64(bytes(32))}\n"
    line = cosign_by_ml_dsa(Note(text, ()), 1_679_315_147)
    assert len(line.signature) == 8 + 2420
    assert Note(text, (line,)).verify([ML_DSA_WITNESS_KEY]) == {ML_DSA_WITNESS_KEY: line}
    # A statement about extension lines is not made.
    assert ML_DSA_WITNESS_KEY.is_valid(f"{text}extension\n", line.signature)
    others = ("5", "6"), ("example.com/log", "example.com/other"), ("AAAA", "AAAB"), ("5", "05"), (text, "5\n")
    for old, new in others:
        assert not ML_DSA_WITNESS_KEY.is_valid(text.replace(old, new, 1), line.signature)
    later = encode_cosignature(1_679_315_148, line.signature[8:])
    for signature in (b"", line.signature[:-1], line.signature + b"x", later, b"\xff" * 2428):
        assert not ML_DSA_WITNESS_KEY.is_valid(text, signature)
    assert not ML_DSA_WITNESS_KEY.is_valid(text.replace("log", "l" * 256), line.signature)


def test_a_key_of_ml_dsa_has_its_id_and_its_length() -> None:
    public = ML_DSA_WITNESS_KEY.public_key
    known_id = sha256(b"witness.example/w2\n\x06" + public).hexdigest()[:8]
    text = f"witness.example/w2+{known_id}+{base64.b64encode(bytes([6]) + public).decode()}"
    assert str(ML_DSA_WITNESS_KEY) == text
    assert VerifierKey.parse(text) == ML_DSA_WITNESS_KEY
    for type in SignatureType:
        with pytest.raises(FormatError, match="bytes, not"):
            VerifierKey("witness.example/w2", type, public[:-1])


def test_signatures_of_unknown_keys_are_ignored() -> None:
    note = Note.parse(NOTE)
    same_name = NoteSignature(KEY.name, b"\0\0\0\0", bytes(64))
    same_id = NoteSignature("example.com/bar", KEY.id, bytes(64))
    assert Note(note.text, (same_name, same_id, *note.signatures)).verify([KEY]) == {KEY: note.signatures[0]}
    for keys in ([], [GO_KEY]):
        with pytest.raises(SignatureError, match="no signature is of"):
            note.verify(keys)


def test_a_wrong_signature_of_a_known_key_refuses_the_note() -> None:
    note, wrong = Note.parse(NOTE), NoteSignature(KEY.name, KEY.id, bytes(64))
    with pytest.raises(SignatureError, match=r"example\.com/foo is wrong"):
        Note(note.text, (*note.signatures, wrong)).verify([KEY])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "text\n",
        "text\n\n",
        NOTE[:-1],
        NOTE.replace("message", "mess\tage"),
        NOTE.replace("— ", "- "),
        NOTE.replace("\n\n", "\n"),
        NOTE + "\n",
        NOTE.replace("aQM=", "aQM"),
        NOTE.replace("aQM=", "aQN="),
        "text\n\n— name \n",
        "text\n\n— name AAAAAA==\n",
        "text\n\n—  AAAAAAAA\n",
        "text\n\n— a+b AAAAAAAA\n",
        "text\n\n— a\u00a0b AAAAAAAA\n",
        "text\n\n" + "— name AAAAAAAA\n" * (MAX_SIGNATURES + 1),
        "x" * 1_000_000 + "\n\n— name AAAAAAAA\n",
    ],
)
def test_a_text_that_is_no_note_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        Note.parse(text)


def test_a_note_may_have_empty_lines_and_many_signatures() -> None:
    text = "text\n\nmore\n\n" + "— name AAAAAAAA\n" * MAX_SIGNATURES
    assert Note.parse(text).text == "text\n\nmore\n"
    assert str(Note.parse(text)) == text


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "example.com/foo",
        "example.com/foo+530d903a",
        "example.com/foo+530d903b+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/bar+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/foo+530d903a+AukyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/foo+530d903a+AekyeQ==",
    ],
)
def test_a_text_that_is_no_key_is_refused(vkey: str) -> None:
    with pytest.raises(FormatError):
        VerifierKey.parse(vkey)


def test_base64_has_one_form() -> None:
    assert decode_base64("AA==") == b"\0"
    for text in ("AA", "AB==", "AA==\n", " AA==", "A A==", "ä", "AA-_"):
        with pytest.raises(FormatError):
            decode_base64(text)
