"""Verifies proofs of an Everthread log offline. This file needs only Python 3.11 and the package `cryptography`.

    python verify_proof.py EVENT.tlog-proof --key VKEY [--witness VKEY ... --quorum N]
    python verify_proof.py NEW.tlog-consistency --old OLD.checkpoint --key VKEY

The first form proves that an event is in the log, unchanged, and shows it. The second form proves that a log still
begins with the log that an older checkpoint describes: nothing was changed, removed or reordered since. VKEY is the
public key of the log, or a file that holds it. Get it from a source that you trust, and not with the proof.

The exit code is 0 if everything is proven, 1 if something is not, and 2 if the command is wrong. The formats are
https://c2sp.org/tlog-proof, tlog-checkpoint, tlog-cosignature, tlog-witness and signed-note. The entry of an event is
described in Everthread's docs/log-format.md. This file is written from these documents alone.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

LOG, COSIGNATURE, ML_DSA = 1, 4, 6  # types of signature
MAX_FILE_BYTES = 64 * 1024 * 1024
NUMBERS = {"algorithm", "version", "at", "schema_version"}
HEAD = ["algorithm", "stream_id", "version", "type", "at", "project_id", "actor", "request_id", "cause"]
FIELDS = [*HEAD, "schema_version", "software_version", "commitment", "previous"]
# The fields of an entry by its algorithm.
ENTRIES = {b"everthread/leaf/1\n": FIELDS, b"everthread/leaf/2\n": [*FIELDS, "client"]}


class NotProvenError(Exception):
    """The proof does not show what it should. The message says why."""


@dataclass(frozen=True)
class PublicKey:
    """A public key: of the log, or of a witness. `kind` is the type of its signatures."""

    name: str
    id: bytes
    public: bytes
    kind: int


@dataclass(frozen=True)
class SignedRoot:
    """The size and the root of a log, with the keys of the witnesses that cosigned them, and when."""

    origin: str
    size: int
    root: bytes
    witnesses: dict[bytes, str]


def decode(text: str) -> bytes:
    """Returns the bytes of base64. Only one text is accepted for each sequence of bytes."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NotProvenError(f"this is not base64: {text[:80]!r}") from None
    if base64.b64encode(data).decode() != text:
        raise NotProvenError(f"this is not base64 in its usual form: {text[:80]!r}")
    return data


def number(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or str(int(text[:20])) != text:
        raise NotProvenError(f"this is not a number: {text[:80]!r}")
    return int(text)


def parse_key(text: str, kinds: dict[int, int]) -> PublicKey:
    """Returns the key of a vkey: its name, its id in hexadecimal digits, and its type and bytes in base64.

    `kinds` are the types that it may have, each with the length of a public key in bytes.
    """
    name, _, rest = text.strip().partition("+")
    key_id, _, data = rest.partition("+")
    material = decode(data)
    known_id = sha256(name.encode() + b"\n" + material).digest()[:4]
    if not material or len(material) - 1 != kinds.get(material[0]) or known_id.hex() != key_id:
        raise NotProvenError(f"this is not the public key of a {'log' if LOG in kinds else 'witness'}: {text[:200]!r}")
    return PublicKey(name, known_id, material[1:], material[0])


def open_checkpoint(note: str, log: PublicKey, witnesses: list[PublicKey]) -> SignedRoot:
    """Returns the checkpoint of a note that the log signed. Signatures of unknown keys are ignored."""
    body, separator, signatures = note.rpartition("\n\n")
    if not separator or not signatures.endswith("\n"):
        raise NotProvenError("the checkpoint has no signatures")
    text, is_signed, cosigned = f"{body}\n", False, dict[bytes, str]()
    for line in signatures[:-1].split("\n"):
        dash, name, data = [*line.split(" "), "", ""][:3]
        signature = decode(data)
        if dash != "—" or line.count(" ") != 2 or len(signature) < 5:
            raise NotProvenError("a line of a signature does not have the form “— name base64”")
        if (name, signature[:4]) == (log.name, log.id):
            check_signature(log, signature[4:], text.encode())
            is_signed = True
        for witness in witnesses:
            if (name, signature[:4]) == (witness.name, witness.id):
                seconds = int.from_bytes(signature[4:12], "big")
                check_signature(witness, signature[12:], cosigned_message(witness, seconds, text))
                cosigned[witness.public] = f"The witness {name} cosigned it at {describe_time(seconds * 1_000_000)}."
    if not is_signed:
        raise NotProvenError(f"the log {log.name} did not sign the checkpoint with the key that you gave")
    origin, size, root = [*text.split("\n"), "", ""][:3]
    if origin != log.name or len(decode(root)) != 32:
        raise NotProvenError(f"the checkpoint is not of the log {log.name}")
    return SignedRoot(origin, number(size), decode(root), cosigned)


def cosigned_message(witness: PublicKey, seconds: int, text: str) -> bytes:
    """Returns what a witness signs at a time: the text of a checkpoint, or with ML-DSA-44 its name, size and root."""
    if witness.kind == COSIGNATURE:
        return f"cosignature/v1\ntime {seconds}\n{text}".encode()
    origin, size, root = [*text.split("\n"), "", ""][:3]
    name, log = witness.name.encode(), origin.encode()
    if number(size) >= 2**63 or seconds >= 2**63 or len(name) > 255 or len(log) > 255 or len(decode(root)) != 32:
        raise NotProvenError("the checkpoint is not one that a witness can have cosigned")
    parts = [bytes([len(name)]) + name, seconds.to_bytes(8, "big"), bytes([len(log)]) + log, bytes(8)]
    return b"".join([b"subtree/v1\n\0", *parts, number(size).to_bytes(8, "big"), decode(root)])


def check_signature(key: PublicKey, signature: bytes, message: bytes) -> None:
    try:
        if key.kind == ML_DSA:
            from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey  # not in older versions

            MLDSA44PublicKey.from_public_bytes(key.public).verify(signature, message)
            return
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature, message)
    except (ImportError, UnsupportedAlgorithm):
        raise NotProvenError(f"the key of {key.name} is one of ML-DSA: install a newer cryptography") from None
    except (InvalidSignature, ValueError):
        raise NotProvenError(f"the signature of {key.name} on the checkpoint is wrong") from None


def parent(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def check_inclusion(leaf: bytes, index: int, proof: list[bytes], checkpoint: SignedRoot) -> None:
    """Follows RFC 9162, section 2.1.3.2."""
    if index >= checkpoint.size:
        raise NotProvenError(f"the checkpoint covers {checkpoint.size} events, and this is number {index}")
    fn, sn, result = index, checkpoint.size - 1, leaf
    for step in proof:
        if sn == 0:
            raise NotProvenError("the proof is too long")
        if fn % 2 == 1 or fn == sn:
            result = parent(step, result)
            while fn % 2 == 0 and fn != 0:
                fn, sn = fn // 2, sn // 2
        else:
            result = parent(result, step)
        fn, sn = fn // 2, sn // 2
    if sn != 0 or result != checkpoint.root:
        raise NotProvenError("the event is not in the log that the checkpoint describes, or it was changed")


def check_consistency(old: SignedRoot, new: SignedRoot, proof: list[bytes]) -> None:
    """Follows RFC 9162, section 2.1.4.2."""
    if old.size > new.size:
        raise NotProvenError(f"the log has shrunk from {old.size} events to {new.size}")
    if old.size in (0, new.size):
        empty = sha256(b"").digest()
        if proof or (old.root != new.root if old.size == new.size else old.root != empty):
            raise NotProvenError("the two checkpoints contradict each other")
        return
    path = [old.root, *proof] if old.size & (old.size - 1) == 0 else proof
    if not path:
        raise NotProvenError("the proof is too short")
    fn, sn = old.size - 1, new.size - 1
    while fn % 2 == 1:
        fn, sn = fn // 2, sn // 2
    old_result = new_result = path[0]
    for step in path[1:]:
        if sn == 0:
            raise NotProvenError("the proof is too long")
        if fn % 2 == 1 or fn == sn:
            old_result, new_result = parent(step, old_result), parent(step, new_result)
            while fn % 2 == 0 and fn != 0:
                fn, sn = fn // 2, sn // 2
        else:
            new_result = parent(new_result, step)
        fn, sn = fn // 2, sn // 2
    if sn != 0 or (old_result, new_result) != (old.root, new.root):
        raise NotProvenError("the newer log does not begin with the older one: its history was changed")


def split_fields(data: bytes, domain: bytes, count: int) -> list[bytes | None]:
    """Returns the fields of an encoding of ours: each is its length in 4 bytes, ff ff ff ff for null, and its bytes."""
    if not data.startswith(domain):
        raise NotProvenError(f"the data does not begin with {domain!r}")
    fields, at = list[bytes | None](), len(domain)
    for _ in range(count):
        length, at = data[at : at + 4], at + 4
        end = at if length == b"\xff" * 4 else at + int.from_bytes(length, "big")
        if len(length) < 4 or end > len(data):
            raise NotProvenError("the data of the event ends too early")
        fields.append(None if length == b"\xff" * 4 else data[at:end])
        at = end
    if at != len(data):
        raise NotProvenError("the data of the event is too long")
    return fields


def describe_event(evidence: bytes) -> tuple[bytes, list[str]]:
    """Returns the leaf of the event in a proof's extra data, and lines that describe the event.

    Raises NotProvenError if the content in it is not the one to which the event commits.
    """
    entry, salt, json = split_fields(evidence, b"everthread/evidence/1\n", 3)
    if entry is None or (salt is None) != (json is None):
        raise NotProvenError("the proof lacks the event")
    domain = entry[:18]
    fields = ENTRIES.get(domain)
    if fields is None:
        raise NotProvenError("the entry of the event has a format that this file does not know")
    values = dict(zip(fields, split_fields(entry, domain, len(fields)), strict=True))
    if values["algorithm"] != int(domain[16:17]).to_bytes(8, "big"):
        raise NotProvenError("the algorithm of the event is not that of its entry")
    lines = []
    for name, value in values.items():
        if value is None:
            text = "none"
        elif name in NUMBERS:
            whole = int.from_bytes(value[:8], "big", signed=True)
            text = describe_time(whole) if name == "at" else str(whole)
        else:
            text = value.hex() if name in ("commitment", "previous", "client") else printable(value)
        lines.append(f"  {name:17} {text}")
    if salt is not None and json is not None:
        if sha256(b"everthread/commitment/1\n" + salt + json).digest() != values["commitment"]:
            raise NotProvenError("the content is not the one of the event")
        lines.append(f"  {'content':17} {printable(json)}")
    else:
        lines.append("  The content is not in the proof.")
    return sha256(b"\x00" + entry).digest(), lines


def describe_time(microseconds: int) -> str:
    try:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)).isoformat()
    except OverflowError:
        raise NotProvenError("a time is not within the years 1 to 9999") from None


def printable(data: bytes) -> str:
    """Returns the text without characters that could control a terminal."""
    text = data.decode(errors="backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def verify_event(text: str, log: PublicKey, witnesses: list[PublicKey], quorum: int) -> list[str]:
    """Returns lines that say what a .tlog-proof proves. Raises NotProvenError."""
    head, _, note = text.partition("\n\n")
    lines = head.split("\n")[1:]
    extra = decode(lines.pop(0)[6:]) if lines and lines[0].startswith("extra ") else b""
    if not lines or not lines[0].startswith("index "):
        raise NotProvenError("the proof does not have the format of https://c2sp.org/tlog-proof")
    index = number(lines[0][6:])
    checkpoint = open_checkpoint(note, log, witnesses)
    leaf, description = describe_event(extra)
    check_inclusion(leaf, index, [decode(line) for line in lines[1:]], checkpoint)
    proven = [
        f"PROVEN: this event is number {index} (from 0) of the log {checkpoint.origin}, and was not changed.",
        *description,
    ]
    return [*proven, *describe_checkpoint(checkpoint, quorum)]


def verify_growth(text: str, old_note: str, log: PublicKey, witnesses: list[PublicKey], quorum: int) -> list[str]:
    """Returns lines that say what a consistency proof proves. Raises NotProvenError."""
    head, _, note = text.partition("\n\n")
    first, *lines = head.split("\n")
    old, new = open_checkpoint(old_note, log, []), open_checkpoint(note, log, witnesses)
    if number(first[4:]) != old.size:
        raise NotProvenError(f"the proof is for an older log of {first[4:]} events, and --old has {old.size}")
    check_consistency(old, new, [decode(line) for line in lines])
    proven = f"PROVEN: the first {old.size} events of the log {new.origin} are still the same, in the same order."
    return [proven, *describe_checkpoint(new, quorum)]


def describe_checkpoint(checkpoint: SignedRoot, quorum: int) -> list[str]:
    if len(checkpoint.witnesses) < quorum:
        raise NotProvenError(f"{len(checkpoint.witnesses)} witnesses cosigned the checkpoint, and {quorum} must")
    return [f"The log signed a checkpoint of {checkpoint.size} events.", *checkpoint.witnesses.values()]


def read(name: str) -> str:
    data = Path(name).read_bytes()
    if len(data) > MAX_FILE_BYTES:
        raise NotProvenError(f"{name} is larger than {MAX_FILE_BYTES} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise NotProvenError(f"{name} is not UTF-8") from None


def read_key(text: str, kinds: dict[int, int]) -> PublicKey:
    return parse_key(text if "+" in text else read(text), kinds)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Verifies a proof of an Everthread log.")
    parser.add_argument("proof", help="a .tlog-proof, or a consistency proof")
    parser.add_argument("--key", required=True, help="the public key of the log (a vkey), or a file that holds it")
    parser.add_argument("--old", help="an older checkpoint, for a consistency proof")
    parser.add_argument("--witness", action="append", default=[], help="the public key of a witness, or a file")
    parser.add_argument("--quorum", type=int, default=0, help="the number of witnesses that must have cosigned")
    given = parser.parse_args(arguments)
    try:
        text, log = read(given.proof), read_key(given.key, {LOG: 32})
        witnesses = [read_key(witness, {COSIGNATURE: 32, ML_DSA: 1312}) for witness in given.witness]
        if text.startswith("c2sp.org/tlog-proof@v1\n"):
            lines = verify_event(text, log, witnesses, given.quorum)
        elif text.startswith("old ") and given.old:
            lines = verify_growth(text, read(given.old), log, witnesses, given.quorum)
        elif text.startswith("old "):
            parser.error("a consistency proof needs --old and the older checkpoint")
        else:
            raise NotProvenError(f"{given.proof} is neither a .tlog-proof nor a consistency proof")
    except OSError as error:
        parser.error(f"cannot read {error.filename}: {error.strerror}")
    except NotProvenError as error:
        sys.stdout.write(f"NOT PROVEN: {error}\n")
        return 1
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
