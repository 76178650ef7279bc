"""A witness of the protocol https://c2sp.org/tlog-witness, written from that document, apart from the product's code.

It keeps the newest checkpoint of each log, refuses forks, and answers with every status that the document names. The
`faults` are answers that it gives before it works as it should.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from hashlib import sha256

from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

Fault = Callable[["WitnessServer", str], Awaitable[web.Response]]


class WitnessServer:
    """A witness. `logs` has the public keys of the logs that it knows, by origin; `seen` what it cosigned of them."""

    def __init__(self, name: str = "witness.example/w1", seed: int = 7, time: int = 1_795_000_000) -> None:
        self.name = name
        self.secret = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
        self.time = time
        self.logs: dict[str, bytes] = {}
        self.seen: dict[str, tuple[int, bytes]] = {}
        self.faults: deque[Fault] = deque()
        self.requests: list[str] = []
        self.url = ""

    @property
    def vkey(self) -> str:
        public = b"\x04" + self.secret.public_key().public_bytes_raw()
        return f"{self.name}+{self._key_id().hex()}+{base64.b64encode(public).decode()}"

    @property
    def setting(self) -> str:
        """The witness as EVERTHREAD_WITNESSES names it."""
        return f"{self.url} {self.vkey}"

    def know(self, vkey: str) -> None:
        """Lets the witness know a log by its vkey."""
        name, _, rest = vkey.strip().partition("+")
        self.logs[name] = base64.b64decode(rest.partition("+")[2])[1:]

    def _key_id(self) -> bytes:
        return sha256(self.name.encode() + b"\n\x04" + self.secret.public_key().public_bytes_raw()).digest()[:4]

    def line(self, text: str, time: int | None = None) -> str:
        """The cosignature line of a checkpoint's text."""
        time = self.time if time is None else time
        signature = self.secret.sign(b"cosignature/v1\ntime %d\n" % time + text.encode())
        data = base64.b64encode(self._key_id() + time.to_bytes(8, "big") + signature).decode()
        return f"— {self.name} {data}\n"

    async def handle(self, request: web.Request) -> web.Response:
        body = (await request.read()).decode()
        self.requests.append(body)
        if self.faults:
            return await self.faults.popleft()(self, body)
        return self.answer(body)

    def answer(self, body: str) -> web.Response:
        head, _, note = body.partition("\n\n")
        first, *proof = head.split("\n")
        text, _, signatures = note.partition("\n\n")
        text += "\n"
        origin, size_line, root_line = text.split("\n")[:3]
        old, size, root = int(first.removeprefix("old ")), int(size_line), base64.b64decode(root_line)
        if origin not in self.logs:
            return web.Response(status=404)
        if not self._is_signed(origin, text, signatures):
            return web.Response(status=403)
        if old > size:
            return web.Response(status=400)
        known, known_root = self.seen.get(origin, (0, sha256(b"").digest()))
        if old != known:
            return web.Response(status=409, body=b"%d\n" % known, content_type="text/x.tlog.size")
        if not _extends(known, known_root, size, root, [base64.b64decode(step) for step in proof]):
            return web.Response(status=422)
        self.seen[origin] = (size, root)
        stranger = base64.b64encode(b"\1\2\3\4" + bytes(72)).decode()
        return web.Response(text=f"— stranger.example {stranger}\n{self.line(text)}")

    def _is_signed(self, origin: str, text: str, signatures: str) -> bool:
        public = self.logs[origin]
        key_id = sha256(origin.encode() + b"\n\x01" + public).digest()[:4]
        for line in signatures.splitlines():
            _, name, data = line.split(" ")
            raw = base64.b64decode(data)
            if name == origin and raw[:4] == key_id:
                try:
                    Ed25519PublicKey.from_public_bytes(public).verify(raw[4:], text.encode())
                except InvalidSignature:
                    return False
                return True
        return False


@asynccontextmanager
async def running(witness: WitnessServer) -> AsyncIterator[WitnessServer]:
    app = web.Application()
    app.router.add_post("/w/add-checkpoint", witness.handle)
    async with TestServer(app) as server:
        witness.url = str(server.make_url("/w"))
        yield witness


def _extends(old: int, old_root: bytes, size: int, root: bytes, proof: list[bytes]) -> bool:
    """Rebuilds both roots from a proof of RFC 6962, section 2.1.2, by the recursion that defines it."""
    if old in (0, size):
        return not proof and (old == 0 or old_root == root)
    steps = list(proof)

    def rebuild(m: int, n: int, is_known: bool) -> tuple[bytes, bytes]:
        """Returns the roots of the first m leaves and of all n leaves of a subtree."""
        if m == n:
            found = old_root if is_known else steps.pop()
            return found, found
        k = 1 << (n - 1).bit_length() - 1
        sibling = steps.pop()
        if m <= k:
            before, left = rebuild(m, k, is_known)
            return before, sha256(b"\x01" + left + sibling).digest()
        before, right = rebuild(m - k, n - k, False)
        return sha256(b"\x01" + sibling + before).digest(), sha256(b"\x01" + sibling + right).digest()

    try:
        found = rebuild(old, size, True)
    except IndexError:
        return False
    return not steps and found == (old_root, root)
