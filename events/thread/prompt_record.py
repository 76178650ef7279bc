"""The record of a model call's request: what it was rendered from, its hash, and its bytes if they are kept."""

from __future__ import annotations

from operator import not_
from typing import Literal

from pydantic import Field

from events.envelope import Event

RequestForm = Literal["native", "required", "prompted"]
LimitName = Literal["max_tokens", "max_completion_tokens"]


def _is_none(value: object) -> bool:
    return value is None


class DroppedHistory(Event):
    """The part of the history that truncation left out, because the prompt would have had more than `allowed` tokens.

    The history had `units` units (`service/runs/prompt.py`). The newest `newest` of them were sent, and the first one
    if `keeps_first`.
    """

    allowed: int
    units: int
    keeps_first: bool
    newest: int


class RequestRetry(Event):
    """A request of the same attempt that failed before. The next one followed `wait_s` seconds later, at once if 0.

    `message` has no keys and no addresses of the operator's network.
    """

    code: str
    message: str
    wait_s: float


class PromptRecord(Event):
    """The last request that an attempt at a model call sent.

    `sha256` (hexadecimal) and `bytes` are those of its body. The body is a function of the thread's events up to
    `version`, of the run's settings, and of these fields: `renderer` is the version of the code that rendered it,
    `model` and `limit_field` are the upstream's names, `form` is the form of the tools, `vision` says that the model
    sees images, `room` is the maximum of characters of a hosted call's output, `briefs` are the texts that hosted tools
    added to the instructions, `images` has the SHA-256 of each image file that was sent, and `refused` the names of all
    that the upstream has refused (`service/model/refusal_names.py`).

    `body` is the body itself, if it may not be such a function. `is_cut` says that it is missing because the run's
    bound on kept bodies is reached (`service/runs/prompt_records.py`).
    """

    renderer: int
    sha256: str
    bytes: int
    version: int | None = Field(None, exclude_if=_is_none)
    model: str
    limit_field: LimitName = Field("max_tokens", exclude_if=lambda name: name == "max_tokens")
    form: RequestForm = Field("native", exclude_if=lambda form: form == "native")
    vision: bool = Field(default=False, exclude_if=not_)
    room: int
    dropped: DroppedHistory | None = Field(None, exclude_if=_is_none)
    briefs: list[str] = Field(default=[], exclude_if=not_)
    images: dict[str, str] = Field(default={}, exclude_if=not_)
    refused: list[str] = Field(default=[], exclude_if=not_)
    body: str | None = Field(None, exclude_if=_is_none)
    is_cut: bool = Field(default=False, exclude_if=not_)
    retries: list[RequestRetry] = Field(default=[], exclude_if=not_)

    @property
    def body_bytes(self) -> int:
        """The bytes of the body that are kept."""
        return 0 if self.body is None else self.bytes
