"""The key that signs the log's checkpoints: Ed25519, and never in the database or its backups.

It is in a file of the data directory, which the first start makes; or in a file or an environment variable that the
operator sets; or in a key management service, which a command of the operator calls.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from service.errors import StartupError

KEY_FILE = "log_key.pem"
# Seconds that the signing command may take for one signature.
SIGN_S = 10.0
_SEED_BYTES = 32
_MAX_KEY_FILE_BYTES = 64 * 1024
# The start signs this text once with the command. It has not the form of a checkpoint.
_TRIAL = b"everthread/trial of a signing command\n"
_HOW_TO_MAKE = "make one with: openssl genpkey -algorithm ed25519"


class SigningError(Exception):
    """A signature could not be made. The message says why, and holds no secret."""


class Signer(Protocol):
    """Makes Ed25519 signatures."""

    @property
    def public_key(self) -> bytes:
        """The public key: 32 bytes."""

    async def sign(self, message: bytes) -> bytes:
        """Returns the signature of a message: 64 bytes. Raises SigningError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySource:
    """The settings that say where the key is; all None for the file in the data directory.

    `command` needs `public_key`: in base64, or as PEM.
    """

    file: Path | None = None
    key: str | None = field(default=None, repr=False)
    command: str | None = None
    public_key: str | None = None


class LocalSigner:
    """Signs with a private key in memory."""

    def __init__(self, private_key: Ed25519PrivateKey) -> None:
        self._private_key = private_key
        self.public_key = private_key.public_key().public_bytes_raw()

    async def sign(self, message: bytes) -> bytes:
        return self._private_key.sign(message)


class CommandSigner:
    """Signs by a command: it gets the message on its standard input, and prints the signature in base64."""

    def __init__(self, command: list[str], public_key: bytes, *, timeout_s: float = SIGN_S) -> None:
        self._command = command
        self._timeout_s = timeout_s
        self.public_key = public_key

    async def sign(self, message: bytes) -> bytes:
        pipe = asyncio.subprocess.PIPE
        environment = {name: value for name, value in os.environ.items() if not name.startswith("EVERTHREAD_")}
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, start_new_session=True
            )
        except OSError as error:
            raise SigningError(f"the signing command cannot be started: {error.strerror}") from None
        try:
            async with asyncio.timeout(self._timeout_s):
                output, errors = await process.communicate(message)
        except TimeoutError:
            raise SigningError(f"the signing command did not end within {self._timeout_s:g} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            reason = errors.decode(errors="replace").strip().splitlines()[-1:] or ["no reason"]
            raise SigningError(f"the signing command ended with {process.returncode}: {reason[0][:300]}")
        return self._decode(output.strip(), message)

    def _decode(self, output: bytes, message: bytes) -> bytes:
        try:
            signature = base64.b64decode(output, validate=True)
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, message)
        except (binascii.Error, ValueError):
            raise SigningError("the signing command did not print base64") from None
        except InvalidSignature:
            raise SigningError("the signing command printed no Ed25519 signature of the public key") from None
        return signature


async def open_signer(source: KeySource, folder: Path) -> Signer:
    """Returns the signer of the log. If no key is set, it is in the folder, and the first call makes it.

    Raises StartupError, which says what to do.
    """
    if source.command is not None:
        return await _open_command(source.command, source.public_key)
    if source.key is not None:
        return LocalSigner(_parse_private_key(source.key.encode(), "EVERTHREAD_LOG_KEY"))
    if source.file is not None:
        return LocalSigner(_parse_private_key(_read(source.file), f"EVERTHREAD_LOG_KEY_FILE, {source.file},"))
    return _open_folder(folder / KEY_FILE)


def _open_folder(file: Path) -> LocalSigner:
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not file.exists():
            _write_new_key(file)
    except OSError as error:
        raise StartupError(f"Cannot make the log's key {file}: {error.strerror}") from None
    return LocalSigner(_parse_private_key(_read(file), f"The log's key {file}"))


async def _open_command(command: str, public_key: str | None) -> CommandSigner:
    if public_key is None:
        raise StartupError(
            "EVERTHREAD_LOG_SIGN_COMMAND needs EVERTHREAD_LOG_PUBLIC_KEY, the public key of its signatures"
        )
    try:
        arguments = shlex.split(command)
    except ValueError as error:
        raise StartupError(f"EVERTHREAD_LOG_SIGN_COMMAND is not a command line: {error}") from None
    if not arguments:
        raise StartupError("EVERTHREAD_LOG_SIGN_COMMAND is empty; set it to a command")
    signer = CommandSigner(arguments, _parse_public_key(public_key))
    try:
        await signer.sign(_TRIAL)
    except SigningError as error:
        raise StartupError(f"EVERTHREAD_LOG_SIGN_COMMAND does not work: {error}") from None
    return signer


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(_MAX_KEY_FILE_BYTES)
    except OSError as error:
        raise StartupError(f"Cannot read the log's key {file}: {error.strerror}") from None


def _parse_private_key(data: bytes, name: str) -> Ed25519PrivateKey:
    """Returns a private key in PEM (PKCS 8), or in base64 of its 32 bytes."""
    try:
        if data.lstrip().startswith(b"-----"):
            key = load_pem_private_key(data, password=None)
        else:
            key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(data.strip(), validate=True))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise StartupError(
            f"{name} holds no Ed25519 key in PEM without a password, or 32 bytes in base64; {_HOW_TO_MAKE}"
        )
    return key


def _parse_public_key(text: str) -> bytes:
    """Returns a public key in PEM, or in base64 of its 32 bytes."""
    try:
        if text.lstrip().startswith("-----"):
            key = load_pem_public_key(text.encode())
            if isinstance(key, Ed25519PublicKey):
                return key.public_bytes_raw()
        else:
            return Ed25519PublicKey.from_public_bytes(base64.b64decode(text.strip(), validate=True)).public_bytes_raw()
    except (ValueError, UnsupportedAlgorithm):
        pass
    raise StartupError("EVERTHREAD_LOG_PUBLIC_KEY is no Ed25519 public key in PEM, or 32 bytes in base64")


def _write_new_key(file: Path) -> None:
    """Writes a new key with mode 0600, atomically. If another server wrote one first, that one stays."""
    new = file.with_name(f"{file.name}.{os.getpid()}")
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        out.write(pem)
        out.flush()
        os.fsync(out.fileno())
    try:
        os.link(new, file)
    except FileExistsError:
        pass
    finally:
        new.unlink(missing_ok=True)
