"""Ids in the shapes of the original service: a prefix and random base62 (BEHAVIOUR.md, "Ids").

Ids that clients send are never checked for shape: an unknown one is a 404, never a 400.
"""

from __future__ import annotations

import secrets
import string

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_LENGTH = 24


def new_id(prefix: str) -> str:
    """A fresh id, for example `new_id("run")` → `run_` and 24 base62 characters (143 random bits)."""
    return f"{prefix}_{''.join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))}"
