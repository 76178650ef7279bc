"""Ids in the shapes of the original service: a prefix and random base62 (BEHAVIOUR.md, "Ids").

Ids that clients send are never checked for shape: an unknown one is a 404, never a 400.
"""

from __future__ import annotations

import os
import string

_ALPHABET = (string.digits + string.ascii_uppercase + string.ascii_lowercase).encode()
_LENGTH = 24
# Each byte below 248 = 4 × 62 is a character, all equally likely; the others are left out.
_CHARACTERS = bytes(_ALPHABET[byte % 62] for byte in range(256))
_LEFT_OUT = bytes(range(248, 256))


def new_id(prefix: str) -> str:
    """A fresh id, for example `new_id("run")` → `run_` and 24 base62 characters (143 random bits)."""
    drawn = b""
    while len(drawn) < _LENGTH:
        drawn += os.urandom(32).translate(_CHARACTERS, _LEFT_OUT)
    return f"{prefix}_{drawn[:_LENGTH].decode()}"
