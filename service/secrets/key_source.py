"""Reads the key-encryption keys: from a file that the first start makes, or as the operator's settings say.

Keys are 32 bytes in base64, one a line, the newest last. A key management service is called by a command, which prints
them.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import fcntl
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from service.errors import StartupError
from service.secrets.key_ring import id_of, new_secret
from sql.seals import KEY_BYTES

KEY_FILE = "encryption_keys"
# Seconds that the command may take to print the keys.
COMMAND_S = 30.0
MAX_KEYS_BYTES = 64 * 1024
_HOW_TO_MAKE = "make a key with: openssl rand -base64 32"


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptionKeySource:
    """The settings that say where the keys are; all None for the file in the data directory's folder `folder`."""

    folder: Path
    file: Path | None = None
    keys: str | None = field(default=None, repr=False)
    command: str | None = field(default=None, repr=False)

    @property
    def is_own_file(self) -> bool:
        """Whether the keys are in the data directory, so that the server makes them."""
        return self.file is None and self.keys is None and self.command is None

    @property
    def path(self) -> Path:
        """The file of the keys in the data directory."""
        return self.folder / KEY_FILE


async def load_keys(source: EncryptionKeySource) -> list[bytes]:
    """Returns the keys, the newest last; none if the data directory has no file. Raises StartupError."""
    if source.command is not None:
        return parse_keys(await _run(source.command), "EVERTHREAD_KEY_COMMAND")
    if source.keys is not None:
        return parse_keys(source.keys.encode(), "EVERTHREAD_KEY")
    if source.file is not None:
        return parse_keys(_read(source.file), f"EVERTHREAD_KEY_FILE, {source.file},")
    return parse_keys(_read(source.path), f"The file {source.path}") if source.path.exists() else []


def parse_keys(text: bytes, name: str) -> list[bytes]:
    """Returns the keys of a text. Raises StartupError, with the name of the text."""
    keys = []
    for line in text.replace(b",", b"\n").split():
        try:
            keys.append(base64.b64decode(line, validate=True))
        except (binascii.Error, ValueError):
            keys.append(b"")
    if not keys or any(len(key) != KEY_BYTES for key in keys):
        raise StartupError(f"{name} must hold keys of 32 bytes in base64, one a line; {_HOW_TO_MAKE}")
    return keys


def add_key(source: EncryptionKeySource) -> bytes:
    """Returns a new key, which is added to the file in the data directory (mode 0600).

    Other processes that share the directory add theirs one after the other. Raises StartupError.
    """
    file = source.path
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _hold_lock(file):
            older = file.read_bytes() if file.exists() else b""
            secret = new_secret()
            _replace(file, older + base64.b64encode(secret) + b"\n")
    except OSError as error:
        raise StartupError(f"Cannot write the encryption keys {file}: {error.strerror}") from None
    return secret


def remove_key(source: EncryptionKeySource, key_id: str) -> None:
    """Removes a key from the file in the data directory; does nothing if it has none. Raises StartupError."""
    file = source.path
    try:
        with _hold_lock(file):
            if not file.exists():
                return
            left = [key for key in parse_keys(_read(file), f"The file {file}") if id_of(key) != key_id]
            _replace(file, b"".join(base64.b64encode(key) + b"\n" for key in left))
    except OSError as error:
        raise StartupError(f"Cannot write the encryption keys {file}: {error.strerror}") from None


@contextmanager
def _hold_lock(file: Path) -> Iterator[None]:
    """Holds a lock beside the file, which is itself replaced. Raises OSError."""
    descriptor = os.open(file.with_name(f"{file.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(file: Path, content: bytes) -> None:
    """Replaces the file atomically, with mode 0600."""
    new = file.with_name(f"{file.name}.{os.getpid()}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    new.replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(MAX_KEYS_BYTES)
    except OSError as error:
        raise StartupError(f"Cannot read the encryption keys {file}: {error.strerror}") from None


async def _run(command: str) -> bytes:
    """Returns the output of the command. Raises StartupError."""
    try:
        arguments = shlex.split(command)
    except ValueError as error:
        raise StartupError(f"EVERTHREAD_KEY_COMMAND is not a command line: {error}") from None
    if not arguments:
        raise StartupError("EVERTHREAD_KEY_COMMAND is empty; set it to a command")
    pipe = asyncio.subprocess.PIPE
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EVERTHREAD_")}
    try:
        process = await asyncio.create_subprocess_exec(
            *arguments, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe, env=environment
        )
    except OSError as error:
        raise StartupError(f"EVERTHREAD_KEY_COMMAND cannot be started: {error.strerror}") from None
    try:
        async with asyncio.timeout(COMMAND_S):
            output, errors = await process.communicate()
    except TimeoutError:
        raise StartupError(f"EVERTHREAD_KEY_COMMAND did not end within {COMMAND_S:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        reason = errors.decode(errors="replace").strip().splitlines()[-1:] or ["no reason"]
        raise StartupError(f"EVERTHREAD_KEY_COMMAND ended with {process.returncode}: {reason[0][:300]}")
    return output[:MAX_KEYS_BYTES]
