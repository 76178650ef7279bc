"""A server that sends informational answers without end gets few bytes parsed in one turn of the event loop."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
from aiohttp.client_proto import ResponseHandler
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.audit.attestations import CheckpointClaim
from service.audit.attesters import AttestationError
from service.audit.checkpoint import Checkpoint
from service.audit.notes import Note, NoteSignature, SignatureType, VerifierKey
from service.audit.pushes import PushError, open_targets
from service.audit.time_stamps import open_authority
from service.audit.witnesses import open_witnesses
from service.small_sockets import RECEIVE_BYTES
from service.webhooks.sender import Sender
from tests.clock import CLOCK

# Linux allows a socket twice the bytes that are asked for.
MOST = 2 * RECEIVE_BYTES
FLOOD = b"HTTP/1.1 102 Processing\r\n\r\n" * 40_000
END = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
KEY = VerifierKey(
    "example.org/log", SignatureType.COSIGNATURE, Ed25519PrivateKey.generate().public_key().public_bytes_raw()
)
NOTE = Note(Checkpoint("everthread/inst_1/1", 1, bytes(32)).text, (NoteSignature("log", bytes(4), bytes(64)),))


@pytest.fixture
def flooder() -> Iterator[str]:
    """The address of a server that answers each request with more than a megabyte of answers 102, and then with 503."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    connection.recv(65536)
                    connection.sendall(FLOOD + END)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(65536):
                        pass

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


async def _ask_witness(url: str) -> None:
    [witness] = open_witnesses(f"{url} {KEY}", clock=CLOCK)
    claim = CheckpointClaim(
        epoch=1, attester="a", ends_at=CLOCK.now(), known_size=0, failures=0, size=1, note=str(NOTE)
    )

    async def prove(old: int, new: int) -> list[bytes]:
        return []

    with pytest.raises(AttestationError, match="answered 503"):
        await witness.attest(claim, prove)


async def _ask_authority(url: str) -> None:
    claim = CheckpointClaim(
        epoch=1, attester="a", ends_at=CLOCK.now(), known_size=0, failures=0, size=1, note=str(NOTE)
    )

    async def prove(old: int, new: int) -> list[bytes]:
        return []

    with pytest.raises(AttestationError, match="answered 503"):
        await open_authority(url, [], clock=CLOCK).attest(claim, prove)


async def _push(url: str) -> None:
    [target] = open_targets([url])
    with pytest.raises(PushError, match="answered 503"):
        await target.send("name", "text")


async def _send_webhook(url: str) -> None:
    async with Sender(clock=CLOCK, allow_private=True) as sender:
        outcome = await sender.send(url, ["whsec_" + "a" * 32], "msg_1", b"{}")
    assert outcome.status == 503


@pytest.mark.parametrize("act", [_ask_witness, _ask_authority, _push, _send_webhook])
async def test_a_flood_is_parsed_in_small_pieces(flooder: str, monkeypatch: pytest.MonkeyPatch, act: object) -> None:
    sizes, receive = list[int](), ResponseHandler.data_received

    def record(handler: ResponseHandler, data: bytes) -> None:
        sizes.append(len(data))
        receive(handler, data)

    monkeypatch.setattr(ResponseHandler, "data_received", record)
    await act(flooder)  # type: ignore[operator]
    assert sum(sizes) == len(FLOOD) + len(END)
    assert max(sizes) <= MOST
