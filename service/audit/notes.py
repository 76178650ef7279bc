"""Signed notes: texts with signatures, and the keys that verify them (https://c2sp.org/signed-note).

Three of the specified types of signature are known: that of a log, and the cosignatures of a witness by Ed25519 and by
ML-DSA-44, which have a time (https://c2sp.org/tlog-cosignature). Signatures of other types are kept and ignored.
Everything here is pure.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256
from typing import Self, assert_never

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

MAX_NOTE_BYTES = 1_000_000
MAX_SIGNATURES = 100
KEY_ID_BYTES = 4
_TIME_BYTES = 8
_ROOT_BYTES = 32
# The beginning of a message that ML-DSA-44 signs, and the longest name of a cosigner or a log in it.
_SUBTREE_LABEL = b"subtree/v1\n\0"
_MAX_NAME_BYTES = 255
_MAX_TIME = 2**63 - 1
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_LINE_START = "— "


class FormatError(ValueError):
    """A text does not have the format that its specification demands. The message says in which way."""


class SignatureError(Exception):
    """A note lacks the signature of a known key, or has a wrong one. The message says which."""


class SignatureType(IntEnum):
    """The types of signature that are verified."""

    LOG = 0x01
    COSIGNATURE = 0x04
    ML_DSA_COSIGNATURE = 0x06

    @property
    def is_cosignature(self) -> bool:
        """Whether witnesses sign so."""
        return self is not SignatureType.LOG

    @property
    def key_bytes(self) -> int:
        """The length of a public key."""
        return 1312 if self is SignatureType.ML_DSA_COSIGNATURE else 32


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key, under the name that its signatures have. Its text form is called a vkey."""

    name: str
    type: SignatureType
    public_key: bytes

    def __post_init__(self) -> None:
        check_key_name(self.name)
        if len(self.public_key) != self.type.key_bytes:
            raise FormatError(f"the public key has {len(self.public_key)} bytes, not {self.type.key_bytes}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Returns the key of a vkey, such as `example.com/foo+530d903a+Aeky…`. Raises FormatError."""
        name, _, rest = text.partition("+")
        key_id, _, data = rest.partition("+")
        encoded = decode_base64(data)
        try:
            key = cls(name, SignatureType(encoded[0] if encoded else 0), encoded[1:])
        except ValueError as error:
            raise FormatError(f"not a key of a log or a witness: {error}") from None
        if key.id.hex() != key_id:
            raise FormatError(f"the key's id is {key.id.hex()}, not {key_id}")
        return key

    @property
    def id(self) -> bytes:
        """The id that distinguishes keys of the same name: 4 bytes."""
        return sha256(self.name.encode() + b"\n" + bytes([self.type]) + self.public_key).digest()[:KEY_ID_BYTES]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{encode_base64(bytes([self.type]) + self.public_key)}"

    def is_valid(self, text: str, signature: bytes) -> bool:
        """Says if the key made this signature of the text."""
        time = cosigning_time(signature)
        if self.type.is_cosignature and time > _MAX_TIME:
            return False
        try:
            match self.type:
                case SignatureType.LOG:
                    Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, text.encode())
                case SignatureType.COSIGNATURE:
                    key = Ed25519PublicKey.from_public_bytes(self.public_key)
                    key.verify(signature[_TIME_BYTES:], cosigned_message(text, time))
                case SignatureType.ML_DSA_COSIGNATURE:
                    larger_key = MLDSA44PublicKey.from_public_bytes(self.public_key)
                    larger_key.verify(signature[_TIME_BYTES:], cosigned_tree(self.name, text, time))
                case _:
                    assert_never(self.type)
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """A signature line: the name and the id of the key, and bytes whose meaning depends on the key's type."""

    name: str
    key_id: bytes
    signature: bytes

    @classmethod
    def of(cls, key: VerifierKey, signature: bytes) -> Self:
        """Returns the line for a signature that the key made."""
        return cls(key.name, key.id, signature)

    @classmethod
    def parse(cls, line: str) -> Self:
        """Returns the signature of a line without its newline. Raises FormatError."""
        name, _, data = line.removeprefix(_LINE_START).partition(" ")
        decoded = decode_base64(data)
        if not line.startswith(_LINE_START) or len(decoded) <= KEY_ID_BYTES:
            raise FormatError("a signature line does not have the form “— name base64”")
        return cls(check_key_name(name), decoded[:KEY_ID_BYTES], decoded[KEY_ID_BYTES:])

    def __str__(self) -> str:
        return f"{_LINE_START}{self.name} {encode_base64(self.key_id + self.signature)}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A text, which ends in a newline, and its signatures. None of them is verified yet."""

    text: str
    signatures: tuple[NoteSignature, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Returns the note of its exact text. Raises FormatError."""
        if len(text.encode()) > MAX_NOTE_BYTES:
            raise FormatError(f"the note has more than {MAX_NOTE_BYTES} bytes")
        if _CONTROL.search(text):
            raise FormatError("the note has control characters")
        body, separator, signatures = text.rpartition("\n\n")
        if not separator or not signatures.endswith("\n"):
            raise FormatError("the note does not end in an empty line and signature lines")
        lines = signatures[:-1].split("\n")
        if len(lines) > MAX_SIGNATURES:
            raise FormatError(f"the note has more than {MAX_SIGNATURES} signatures")
        return cls(f"{body}\n", tuple(map(NoteSignature.parse, lines)))

    def __str__(self) -> str:
        return f"{self.text}\n{''.join(map(str, self.signatures))}"

    def verify(self, keys: Collection[VerifierKey]) -> dict[VerifierKey, NoteSignature]:
        """Returns the keys that signed the note, of those given, each with its first signature.

        Raises SignatureError if a signature of a given key is wrong, or if no given key signed the note.
        """
        known, found = {(key.name, key.id): key for key in keys}, dict[VerifierKey, NoteSignature]()
        for signature in self.signatures:
            key = known.get((signature.name, signature.key_id))
            if key is None:
                continue
            if not key.is_valid(self.text, signature.signature):
                raise SignatureError(f"the signature of {key.name} is wrong")
            found.setdefault(key, signature)
        if not found:
            raise SignatureError(
                f"no signature is of {' or '.join(sorted({key.name for key in keys})) or 'a known key'}"
            )
        return found


def check_key_name(name: str) -> str:
    """Returns the name of a key. Raises FormatError if the name is empty, or has a space or a plus sign."""
    if not name or "+" in name or any(character.isspace() for character in name):
        raise FormatError("the name of a key is empty, or has a space or a plus sign")
    return name


def cosigned_message(text: str, time: int) -> bytes:
    """Returns the bytes that a witness signs. `time` is in seconds since 1970-01-01 00:00 UTC."""
    return f"cosignature/v1\ntime {time}\n{text}".encode()


def cosigned_tree(name: str, text: str, time: int) -> bytes:
    """Returns the bytes that a witness of this name signs by ML-DSA-44: the tree of a checkpoint, from its first leaf.

    Raises FormatError if the text is not that of a checkpoint with a size and a root.
    """
    origin, size, root = [*text.split("\n"), "", ""][:3]
    names = [part.encode() for part in (name, origin)]
    if not size.isascii() or not size.isdigit() or len(size) > len(str(_MAX_TIME)) or str(int(size)) != size:
        raise FormatError("the checkpoint has no size")
    tree = decode_base64(root)
    if len(tree) != _ROOT_BYTES or not all(0 < len(part) <= _MAX_NAME_BYTES for part in names):
        raise FormatError(f"the checkpoint has no root, or a name has more than {_MAX_NAME_BYTES} bytes")
    cosigner, log = (bytes([len(part)]) + part for part in names)
    numbers = [number.to_bytes(8, "big") for number in (time, 0, int(size))]
    return b"".join((_SUBTREE_LABEL, cosigner, numbers[0], log, *numbers[1:], tree))


def encode_cosignature(time: int, signature: bytes) -> bytes:
    """Returns a signature of a witness with its time, in seconds since 1970-01-01 00:00 UTC."""
    return time.to_bytes(_TIME_BYTES, "big") + signature


def cosigning_time(cosignature: bytes) -> int:
    """Returns the time of a witness's signature, in seconds since 1970-01-01 00:00 UTC."""
    return int.from_bytes(cosignature[:_TIME_BYTES], "big")


def encode_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def decode_base64(text: str) -> bytes:
    """Returns the bytes. Raises FormatError unless the text is the one that encodes them, with padding."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise FormatError(f"not base64: {text[:80]!r}") from None
    if encode_base64(data) != text:
        raise FormatError(f"not base64 in its only form: {text[:80]!r}")
    return data
