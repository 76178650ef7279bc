"""Witnesses: other parties that cosign checkpoints of the log (https://c2sp.org/tlog-witness, tlog-cosignature).

A witness remembers the newest checkpoint of each log that it has cosigned, and cosigns only those that extend it. So
two histories of one log cannot both have its cosignature.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import aiohttp

from events.clock import Clock
from service.audit.attestations import Attestation, AttestationKind, CheckpointClaim
from service.audit.attesters import AttestationError, Prover
from service.audit.checkpoint import add_cosignatures, parse_number, render_witness_request
from service.audit.notes import FormatError, Note, SignatureError, VerifierKey, cosigning_time
from service.small_sockets import open_connector

# Seconds for one request, bytes of an answer that are read, and answers about the size in one round.
REQUEST_S = 20.0
MAX_ANSWER_BYTES = 64 * 1024
MAX_CONFLICTS = 3
MAX_WITNESSES = 32
# A cosignature may be of a time that is so far ahead of our clock.
MAX_AHEAD = timedelta(minutes=5)
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_URL = re.compile(r"https?://[^\s/?#]+[^\s?#]*")
_SIZE = re.compile(rb"([0-9]{1,19})\n")


class Witness:
    """A witness, by its submission prefix (a URL) and its key."""

    kind = AttestationKind.WITNESS
    every_s = 0.0

    def __init__(self, url: str, key: VerifierKey, *, clock: Clock) -> None:
        self.id, self.name = str(key), key.name
        self._url = f"{url.rstrip('/')}/add-checkpoint"
        self._key = key
        self._clock = clock

    async def attest(self, claim: CheckpointClaim, prove: Prover) -> Attestation:
        """Returns the cosignature of the checkpoint. Raises AttestationError and LogFault."""
        try:
            note = Note.parse(claim.note)
        except FormatError as error:
            raise AttestationError(f"not asked: the kept checkpoint was changed: {error}", is_serious=True) from None
        known = claim.known_size
        timeout = aiohttp.ClientTimeout(total=REQUEST_S)
        async with aiohttp.ClientSession(timeout=timeout, connector=open_connector()) as session:
            for _ in range(MAX_CONFLICTS + 1):
                body = render_witness_request(known, await prove(known, claim.size), note)
                status, answer = await self._post(session, body)
                if status != 409:
                    return self._read_answer(status, answer, note, known)
                known = _parse_size(answer, known)
                if known > claim.size:
                    problem = f"has seen {known} events of the log, and the newest kept checkpoint has {claim.size}"
                    raise AttestationError(problem, seen_size=known)
        raise AttestationError("names another size in each answer")

    async def _post(self, session: aiohttp.ClientSession, body: str) -> tuple[int, bytes]:
        try:
            async with session.post(self._url, data=body.encode(), allow_redirects=False) as response:
                answer = b""
                async for chunk in response.content.iter_any():
                    answer += chunk
                    if len(answer) > MAX_ANSWER_BYTES:
                        raise AttestationError(f"answered more than {MAX_ANSWER_BYTES} bytes")
                return response.status, answer
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise AttestationError(f"cannot be reached: {type(error).__name__}") from None

    def _read_answer(self, status: int, answer: bytes, note: Note, known: int) -> Attestation:
        match status:
            case 200:
                return self._read_cosignature(answer, note)
            case 403:
                raise AttestationError("does not know the log's key (403)")
            case 404:
                raise AttestationError("does not know the log (404): its operator must add the log's key")
            case 422:
                problem = f"says that the log contradicts the {known} events that it has seen (422)"
                raise AttestationError(problem, is_serious=True)
            case _:
                raise AttestationError(f"answered {status}")

    def _read_cosignature(self, answer: bytes, note: Note) -> Attestation:
        """Returns the cosignature of this witness in the answer. Those of other keys are ignored."""
        try:
            cosigned = add_cosignatures(Note(note.text, ()), answer.decode(), [self._key])
        except (FormatError, SignatureError, UnicodeDecodeError) as error:
            raise AttestationError(f"answered no valid cosignature: {str(error)[:200]}") from None
        (line,) = cosigned.signatures
        seconds = cosigning_time(line.signature)
        at = datetime.fromtimestamp(min(seconds, 2**35), UTC)
        if not _EARLIEST <= at <= self._clock.now() + MAX_AHEAD:
            raise AttestationError(f"cosigned with the time {at.isoformat()}: a clock is wrong")
        return Attestation(self.kind, at, str(line).encode())


def open_witnesses(text: str, *, clock: Clock) -> list[Witness]:
    """Returns the witnesses of the setting: URLs and keys with spaces between, and commas between witnesses.

    Raises ValueError if one of them is wrong, or is named twice.
    """
    witnesses, names = list[Witness](), set[str]()
    for part in filter(None, map(str.strip, text.split(","))):
        url, _, vkey = part.partition(" ")
        try:
            key = VerifierKey.parse(vkey.strip())
        except FormatError as error:
            raise ValueError(f"the key of the witness {len(witnesses) + 1} is wrong: {error}") from None
        if not _URL.fullmatch(url) or not key.type.is_cosignature:
            raise ValueError(f"the witness {len(witnesses) + 1} needs an http(s) URL and the key of a witness")
        if key.name in names or any(key.public_key == VerifierKey.parse(other.id).public_key for other in witnesses):
            raise ValueError(f"the witness {key.name} is named twice")
        names.add(key.name)
        witnesses.append(Witness(url, key, clock=clock))
    if len(witnesses) > MAX_WITNESSES:
        raise ValueError(f"at most {MAX_WITNESSES} witnesses can be named")
    return witnesses


def _parse_size(answer: bytes, known: int) -> int:
    """Returns the size in the answer 409. Raises AttestationError if it is none, or the one that was sent."""
    found = _SIZE.fullmatch(answer)
    try:
        size = parse_number(found[1].decode() if found else "")
    except FormatError:
        raise AttestationError("answered 409 without a size") from None
    if size == known:
        raise AttestationError(f"answered 409 and the size that was sent, {known}")
    return size
