"""Encryption of an export under a passphrase, in the format of age (https://age-encryption.org/v1).

A new identity encrypts the files, and the passphrase encrypts the identity in `key.age`. The tool `age` opens both:

    age --decrypt --output identity.txt key.age
    age --decrypt --identity identity.txt manifest.json.age > manifest.json
"""

from __future__ import annotations

from typing import Self

import pyrage

from service.exports.layout import ExportFault

KEY_FILE = "key.age"
SUFFIX = ".age"


class FileSeal:
    """Encrypts and decrypts the files of one export."""

    def __init__(self, identity: pyrage.x25519.Identity) -> None:
        self._identity = identity
        self._recipient = identity.to_public()

    @classmethod
    def new(cls) -> Self:
        """Returns a seal with a new identity."""
        return cls(pyrage.x25519.Identity.generate())

    @classmethod
    def open(cls, key_file: bytes, passphrase: str) -> Self:
        """Returns the seal of an export from its `key.age`. Raises ExportFault if the passphrase is another one."""
        try:
            text = pyrage.passphrase.decrypt(key_file, passphrase)
            return cls(pyrage.x25519.Identity.from_str(text.decode().strip()))
        except (pyrage.DecryptError, pyrage.IdentityError, UnicodeDecodeError) as error:
            raise ExportFault(
                f"{KEY_FILE} cannot be opened: the passphrase is another one, or it was changed"
            ) from error

    def key_file(self, passphrase: str) -> bytes:
        """Returns the bytes of `key.age`. This takes about a second: the passphrase is hashed slowly."""
        sealed: bytes = pyrage.passphrase.encrypt(f"{self._identity}\n".encode(), passphrase)
        return sealed

    def seal(self, data: bytes) -> bytes:
        """Returns the encrypted bytes of a file."""
        sealed: bytes = pyrage.encrypt(data, [self._recipient])
        return sealed

    def unseal(self, data: bytes, path: str) -> bytes:
        """Returns the bytes of the file at `path`. Raises ExportFault if they were changed."""
        try:
            opened: bytes = pyrage.decrypt(data, [self._identity])
        except pyrage.DecryptError as error:
            raise ExportFault(f"{path} cannot be decrypted: it was changed, or is of another export") from error
        return opened
