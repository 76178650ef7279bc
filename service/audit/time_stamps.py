"""Time stamps of RFC 3161: an authority signs the hash of a kept checkpoint and the time.

So the log existed at that time, also if its key becomes known to somebody later. The stamp covers the exact text of the
kept checkpoint, with the signatures of its log, so `openssl ts -verify` checks it too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
from cryptography import x509

from events.clock import Clock
from service.audit.attestations import Attestation, AttestationKind, CheckpointClaim
from service.audit.attesters import AttestationError, Prover
from service.audit.stamp_encoding import sort_certificates
from service.small_sockets import open_connector

# Seconds between two stamps, and for one request; bytes of an answer that are read.
STAMP_EVERY_S = 600.0
REQUEST_S = 20.0
MAX_ANSWER_BYTES = 64 * 1024
MAX_CERTIFICATES_BYTES = 1024 * 1024
# The time of a new stamp may differ so much from our clock.
MAX_DIFFERENCE = timedelta(minutes=5)
_URL = re.compile(r"https?://[^\s/?#]+[^\s#]*")
_HEADERS = {"Content-Type": "application/timestamp-query", "Accept": "application/timestamp-reply"}


class StampError(Exception):
    """A time stamp is not valid. The message says why."""


class TimeStampAuthority:
    """An authority, by its URL. `roots` are the certificates that it is trusted by."""

    kind = AttestationKind.TIME_STAMP
    every_s = STAMP_EVERY_S

    def __init__(self, url: str, roots: Sequence[x509.Certificate], *, clock: Clock) -> None:
        parts = urlsplit(url)
        # Without a user, a password and a query, which may hold a secret.
        self.name = parts.netloc.rpartition("@")[2]
        self.id = f"{parts.scheme}://{self.name}{parts.path}"
        self._url = url
        self._roots = roots
        self._clock = clock

    async def attest(self, claim: CheckpointClaim, prove: Prover) -> Attestation:
        """Returns the stamp of the checkpoint. Raises AttestationError."""
        from rfc3161_client import TimestampRequestBuilder
        from rfc3161_client.base import HashAlgorithm

        builder = TimestampRequestBuilder().data(claim.note.encode()).hash_algorithm(HashAlgorithm.SHA256)
        request = builder.build()
        answer = await self._post(request.as_bytes())
        try:
            at = verify_stamp(answer, claim.note, self._roots, nonce=request.nonce)
        except StampError as error:
            raise AttestationError(f"answered no valid time stamp: {error}") from None
        if abs(at - self._clock.now()) > MAX_DIFFERENCE:
            raise AttestationError(f"stamped with the time {at.isoformat()}: a clock is wrong")
        return Attestation(self.kind, at, answer)

    async def _post(self, body: bytes) -> bytes:
        timeout = aiohttp.ClientTimeout(total=REQUEST_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, connector=open_connector()) as session,
                session.post(self._url, data=body, headers=_HEADERS, allow_redirects=False) as response,
            ):
                if response.status != 200:
                    raise AttestationError(f"answered {response.status}")
                answer = b""
                async for chunk in response.content.iter_any():
                    answer += chunk
                    if len(answer) > MAX_ANSWER_BYTES:
                        raise AttestationError(f"answered more than {MAX_ANSWER_BYTES} bytes")
                return answer
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise AttestationError(f"cannot be reached: {type(error).__name__}") from None


def verify_stamp(
    response: bytes, note: str, roots: Sequence[x509.Certificate], *, nonce: int | None = None
) -> datetime:
    """Returns the time of the stamp in a response (DER), if it is one of the exact text and a root vouches for it.

    The certificates must have been valid at that time. Raises StampError.
    """
    from rfc3161_client import VerificationError, VerifierBuilder, decode_timestamp_response

    try:
        response = sort_certificates(response)
        decoded = decode_timestamp_response(response)
        if decoded.status != 0:
            raise StampError(f"the authority refused it: {'; '.join(decoded.status_string)[:200] or decoded.status}")
        if decoded.as_bytes() != response:
            raise StampError("it is not in the form of RFC 3161, or has more bytes")
        VerifierBuilder(roots=list(roots), nonce=nonce).build().verify_message(decoded, note.encode())
        return decoded.tst_info.gen_time.astimezone(UTC)
    except (VerificationError, ValueError, TypeError, OverflowError) as error:
        raise StampError(str(error)[:200]) from None


def load_roots(file: Path) -> list[x509.Certificate]:
    """Returns the certificates of a PEM file. Raises ValueError if there is none, or if it cannot be read."""
    try:
        with file.open("rb") as opened:
            return x509.load_pem_x509_certificates(opened.read(MAX_CERTIFICATES_BYTES))
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    except ValueError:
        raise ValueError("holds no certificates in PEM") from None


def open_authority(url: str, roots: Sequence[x509.Certificate], *, clock: Clock) -> TimeStampAuthority:
    """Returns the authority. Raises ValueError if the URL is none."""
    if not _URL.fullmatch(url):
        raise ValueError("must start with http:// or https://")
    return TimeStampAuthority(url, roots, clock=clock)
