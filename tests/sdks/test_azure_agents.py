"""The client of Azure AI agents against a whole server with TLS, under a project's path and under the root."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import os
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from service.errors import StartupError
from service.http.lifespan import load_tls
from tests.client import KEY
from tests.conftest import StartServer
from tests.scripted import ScriptedServer, calls, says

HERE = Path(__file__).parent
PYTHON = HERE.parent.parent / ".venvs" / "azure-ai-agents-1.1.0" / "bin" / "python"
PROGRAM_S = 150.0


@pytest.fixture(scope="module")
def pem_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that is signed by its own key, and the key."""
    home = tmp_path_factory.mktemp("tls")
    cert, key = home / "cert.pem", home / "key.pem"
    _make_certificate(cert, key)
    return cert, key


def _make_certificate(cert: Path, key: Path) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    key.write_bytes(private.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain))


async def test_tls(start_server: StartServer, pem_files: tuple[Path, Path], tmp_path: Path) -> None:
    cert, key = pem_files
    async with start_server(tls_cert=cert, tls_key=key) as client:
        assert client.base_url.startswith("https://127.0.0.1:")
        trusted = ssl.create_default_context(cafile=str(cert))
        url = client.base_url + "/assistants"
        async with client.session.get(url, headers=client.headers, ssl=trusted) as response:
            assert response.status == 200
        with pytest.raises(aiohttp.ClientError):
            await client.session.get(url.replace("https", "http"))
    with pytest.raises(StartupError, match="EVERTHREAD_TLS_CERT and EVERTHREAD_TLS_KEY cannot be used"):
        load_tls(cert, cert)
    assert load_tls(None, None) is None


@pytest.mark.sdk
@pytest.mark.parametrize("path", ["/api/projects/my-project", ""])
async def test_a_program_of_azure_ai_agents(
    start_server: StartServer, model: ScriptedServer, pem_files: tuple[Path, Path], path: str
) -> None:
    assert PYTHON.exists(), f"{PYTHON} is missing: scripts/test makes it"
    cert, key = pem_files
    model.script(calls(("weather", {"city": "Paris"})), says("Sun."), says("Again."))
    async with start_server(tls_cert=cert, tls_key=key) as client:
        printed = await _run_program(client.base_url.removesuffix("/v1") + path, cert)
    events = printed.pop("events")
    assert (events[0], events[-2:]) == ("thread.run.created", ["thread.run.completed", "done"])
    assert printed == {
        "agents": ["b"],
        "waited": "RunStatus.REQUIRES_ACTION",
        "status": "completed",
        "content": "Tides",
        "listed": True,
        "batch": True,
        "missing": [404, "No thread found with id 'thread_none'."],
    }


async def _run_program(endpoint: str, cert: Path) -> Any:
    program, pipe = HERE / "programs" / "azure_agents.py", asyncio.subprocess.PIPE
    environment = {**os.environ, "OPENAI_API_KEY": KEY}
    run = await asyncio.create_subprocess_exec(
        PYTHON, program, endpoint, cert, env=environment, stdout=pipe, stderr=pipe
    )
    out, err = await asyncio.wait_for(run.communicate(), PROGRAM_S)
    assert run.returncode == 0, err.decode()
    return orjson.loads(out)
