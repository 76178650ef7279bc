"""Facts about the requests of one model call, which its client notes while it sends them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal

LimitField = Literal["max_tokens", "max_completion_tokens"]
# The form in which a model gets tools: as tools, as a response format of one call, or as a prompt and a format.
RequestForm = Literal["native", "required", "prompted"]


@dataclass(frozen=True, slots=True)
class FailedRequest:
    """A request that failed; `wait_s` seconds later another one was sent. `message` contains no secrets."""

    code: str
    message: str
    wait_s: float


@dataclass(frozen=True, slots=True)
class SentRequest:
    """A request that was sent. `sha256` (hexadecimal) and `size` in bytes are those of its body.

    `model` is the upstream's name, `refused` are the names of refusals that the body respects. `body` is set if it is
    to be kept.
    """

    sha256: str
    size: int
    model: str
    limit_field: LimitField
    form: RequestForm
    refused: tuple[str, ...]
    body: bytes | None


@dataclass(slots=True)
class RequestJournal:
    """The last request of a model call, and those that failed before it.

    A body is kept if it has at most `room` bytes. `form` is set before the request is sent.
    """

    room: int = 0
    form: RequestForm = "native"
    sent: SentRequest | None = None
    failed: list[FailedRequest] = field(default_factory=list)

    def note_sent(self, body: bytes, *, model: str, limit_field: LimitField, refused: Collection[str]) -> None:
        """Notes a request. It takes the hash of the body, so call it in a thread if the body is large."""
        self.sent = SentRequest(
            sha256=hashlib.sha256(body).hexdigest(),
            size=len(body),
            model=model,
            limit_field=limit_field,
            form=self.form,
            refused=tuple(sorted(refused)),
            body=body if len(body) <= self.room else None,
        )

    def note_failed(self, code: str, message: str, wait_s: float) -> None:
        """Notes that the last request failed, and that another one follows after so many seconds."""
        self.failed.append(FailedRequest(code, message, wait_s))
