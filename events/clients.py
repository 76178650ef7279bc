"""Commitments to the clients of requests: who sent a request, in a form that can be forgotten.

The events of a request hold the commitment. The address and the other facts are a row of their own, which is deleted in
time. docs/log-format.md, "Client", specifies the commitment. Everything here is pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson

from events.leaves import SALT_BYTES

# The prefix of the contents, under the hash of a commitment.
CLIENT_DOMAIN = b"everthread/client/1\n"


@dataclass(frozen=True, slots=True)
class ClientFacts:
    """The facts about the client of a request. Those that the client did not send are null.

    `address` is that of the peer, and `forwarded_for` the header X-Forwarded-For, which anybody can write unless a
    proxy replaces it. `safety_identifier` is the name that the client gives its own user.
    """

    address: str | None
    forwarded_for: str | None = None
    user_agent: str | None = None
    safety_identifier: str | None = None


def seal_client(facts: ClientFacts, salt: bytes) -> bytes:
    """Returns the content to store: the salt and the JSON of the facts that are known."""
    values = {
        "address": facts.address,
        "forwarded_for": facts.forwarded_for,
        "user_agent": facts.user_agent,
        "safety_identifier": facts.safety_identifier,
    }
    return salt + orjson.dumps({name: value for name, value in values.items() if value is not None})


def commit_client(content: bytes) -> bytes:
    """Returns the commitment to a stored content: 32 bytes."""
    return sha256(CLIENT_DOMAIN + content).digest()


def open_client(content: bytes) -> Mapping[str, Any]:
    """Returns the facts of a stored content, by name."""
    facts: Mapping[str, Any] = orjson.loads(content[SALT_BYTES:])
    return facts
