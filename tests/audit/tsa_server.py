"""A time stamp authority of RFC 3161: `openssl ts` behind HTTP, with a root, an intermediate and its own certificate.

`faults` are answers that it gives before it works as it should.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CONTENT_TYPE = "application/timestamp-reply"
Fault = Callable[["TsaServer", bytes], Awaitable[web.Response]]
_CONFIG = """
[tsa]
default_tsa = here
[here]
serial = {folder}/serial
crypto_device = builtin
signer_cert = {folder}/tsa.pem
certs = {folder}/chain.pem
signer_key = {folder}/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha512
accuracy = secs:1
ordering = yes
tsa_name = yes
ess_cert_id_chain = yes
ess_cert_id_alg = sha256
"""


class Authority:
    """A certificate and its key. `issuer` is None for a root."""

    def __init__(self, name: str, issuer: Authority | None = None, *, is_leaf: bool = False) -> None:
        self.key: EllipticCurvePrivateKey = generate_private_key(SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now, by = datetime.now(UTC), issuer or self
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(by.name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=9))
            .not_valid_after(now + timedelta(days=900))
            .add_extension(x509.BasicConstraints(ca=not is_leaf, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
        )
        if is_leaf:
            usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
            builder = builder.add_extension(usage, critical=True)
        self.certificate = builder.sign(by.key, SHA256())

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)


class TsaServer:
    """The authority's key, configuration and serial numbers are in `folder`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.faults: deque[Fault] = deque()
        self.requests = 0
        self.url = ""
        root = Authority("root")
        intermediate = Authority("intermediate", root)
        leaf = Authority("tsa", intermediate, is_leaf=True)
        (folder / "root.pem").write_bytes(root.pem)
        (folder / "chain.pem").write_bytes(intermediate.pem + root.pem)
        (folder / "tsa.pem").write_bytes(leaf.pem)
        key = leaf.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / "tsa.key").write_bytes(key)
        (folder / "serial").write_text("01\n")
        (folder / "tsa.cnf").write_text(_CONFIG.format(folder=folder))

    @property
    def root(self) -> Path:
        """The file with the certificate to trust."""
        return self.folder / "root.pem"

    async def reply(self, request: bytes) -> bytes:
        """Returns the response to a request, both in DER."""
        (self.folder / "request.tsq").write_bytes(request)
        await openssl(
            *("ts", "-reply", "-config", self.folder / "tsa.cnf", "-queryfile", self.folder / "request.tsq"),
            *("-out", self.folder / "response.tsr"),
        )
        return (self.folder / "response.tsr").read_bytes()

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.requests += 1
        assert request.content_type == "application/timestamp-query"
        if self.faults:
            return await self.faults.popleft()(self, body)
        return web.Response(body=await self.reply(body), content_type=CONTENT_TYPE)


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[TsaServer]:
    tsa = TsaServer(folder)
    app = web.Application()
    app.router.add_post("/tsr", tsa.handle)
    async with TestServer(app) as server:
        tsa.url = str(server.make_url("/tsr"))
        yield tsa


async def openssl(*arguments: str | Path) -> str:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec("openssl", *map(str, arguments), stdout=pipe, stderr=pipe)
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode()
