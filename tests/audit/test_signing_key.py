"""Where the log's key comes from, and the errors of a start that has none."""

from __future__ import annotations

import asyncio
import base64
import os
import shlex
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from service.audit.signing_key import CommandSigner, KeySource, SigningError, open_signer
from service.errors import StartupError

SECRET = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = SECRET.public_key().public_bytes_raw()
PEM = SECRET.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
SEED = base64.b64encode(bytes(range(32))).decode()
PUBLIC_BASE64 = base64.b64encode(PUBLIC).decode()
SIGN = """
import base64, sys
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
print(base64.b64encode(key.sign(sys.stdin.buffer.read())).decode())
"""


def python(code: str) -> str:
    return shlex.join([sys.executable, "-c", code])


async def assert_signs(source: KeySource, folder: Path, public_key: bytes = PUBLIC) -> None:
    signer = await open_signer(source, folder)
    assert signer.public_key == public_key
    Ed25519PublicKey.from_public_bytes(public_key).verify(await signer.sign(b"text\n"), b"text\n")


async def test_the_first_start_makes_a_key_and_later_ones_use_it(tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    first = await open_signer(KeySource(), folder)
    await assert_signs(KeySource(), folder, first.public_key)
    assert [(path.name, path.stat().st_mode & 0o777) for path in folder.iterdir()] == [("log_key.pem", 0o600)]
    assert folder.stat().st_mode & 0o777 == 0o700


async def test_servers_that_start_together_share_one_key(tmp_path: Path) -> None:
    signers = await asyncio.gather(*(open_signer(KeySource(), tmp_path) for _ in range(5)))
    assert len({signer.public_key for signer in signers}) == 1


async def test_a_file_or_the_environment_may_hold_the_key(tmp_path: Path) -> None:
    file = tmp_path / "key"
    for text in (PEM, SEED, f"{SEED}\n"):
        file.write_text(text)
        await assert_signs(KeySource(file=file), tmp_path)
        await assert_signs(KeySource(key=text), tmp_path)
    assert list(tmp_path.iterdir()) == [file]


async def test_a_command_may_sign(tmp_path: Path) -> None:
    pem = SECRET.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    for public_key in (PUBLIC_BASE64, pem):
        await assert_signs(KeySource(command=python(SIGN), public_key=public_key), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "secret words",
        SEED[:-4],
        PUBLIC_BASE64[:-2],
        PEM.replace("MC4C", "MC4D"),
        SECRET.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")).decode(),
        generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
    ],
)
async def test_a_text_that_is_no_key_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "log_key.pem"
    file.write_text(text)
    for source, name in (
        (KeySource(key=text), "EVERTHREAD_LOG_KEY holds"),
        (KeySource(file=file), f"EVERTHREAD_LOG_KEY_FILE, {file}, holds"),
        (KeySource(), f"The log's key {file} holds"),
    ):
        with pytest.raises(StartupError) as error:
            await open_signer(source, tmp_path)
        assert str(error.value).startswith(name)
        assert "openssl genpkey -algorithm ed25519" in str(error.value)
        assert not text or text not in str(error.value)


async def test_a_file_that_is_missing_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"Cannot read the log's key .*: No such file or directory"):
        await open_signer(KeySource(file=tmp_path / "none"), tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(StartupError, match=r"Cannot make the log's key .*: Not a directory"):
        await open_signer(KeySource(), tmp_path / "file" / "audit")


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("", "is empty"),
        ("'", "is not a command line"),
        ("/missing/command", "cannot be started: No such file or directory"),
        (python("import sys; sys.exit('no such key\\nin the vault')"), "ended with 1: in the vault"),
        (python("print('hello')"), "did not print base64"),
        (python(SIGN.replace("range(32)", "32")), "printed no Ed25519 signature of the public key"),
    ],
)
async def test_a_command_that_does_not_work_ends_the_start(tmp_path: Path, command: str, reason: str) -> None:
    with pytest.raises(StartupError, match="EVERTHREAD_LOG_SIGN_COMMAND") as error:
        await open_signer(KeySource(command=command, public_key=PUBLIC_BASE64), tmp_path)
    assert reason in str(error.value)


async def test_a_command_needs_a_public_key(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="needs EVERTHREAD_LOG_PUBLIC_KEY"):
        await open_signer(KeySource(command=python(SIGN)), tmp_path)
    for text in ("", "AAAA", SEED[1:], PEM):
        with pytest.raises(StartupError, match="EVERTHREAD_LOG_PUBLIC_KEY is no Ed25519 public key"):
            await open_signer(KeySource(command=python(SIGN), public_key=text), tmp_path)


async def test_a_command_that_hangs_is_killed() -> None:
    signer = CommandSigner(["sleep", "600"], PUBLIC, timeout_s=0.05)
    with pytest.raises(SigningError, match=r"did not end within 0\.05 s"):
        await signer.sign(b"text\n")


async def test_a_command_gets_no_settings_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERTHREAD_API_KEY", "secret")
    monkeypatch.setenv("VAULT", "here")
    code = "import os, sys; sys.exit(str([name for name in os.environ if name in ('EVERTHREAD_API_KEY', 'VAULT')]))"
    assert os.environ["EVERTHREAD_API_KEY"] == "secret"
    with pytest.raises(SigningError, match=r"ended with 1: \['VAULT'\]"):
        await CommandSigner([sys.executable, "-c", code], PUBLIC).sign(b"")
