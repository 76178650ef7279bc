"""Deltas: pieces of a model's text, of its tool calls and of a hosted tool's output while a call is in progress.

Deltas are not events and never reach the log. They name objects by ids that earlier events minted, and later events
hold the complete text. Their classes are not frozen, since a frozen one takes three times as long to construct, and
there is a delta for each token.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, assert_never

# Deltas of a call that are kept before they are joined.
KEPT_APART = 256


@dataclass(slots=True)
class MessageTextDelta:
    """A piece of the text that the open model call writes into its message, or of its refusal if `refusal` is set.

    If a piece has an `annotation`, its text is exactly the annotated text. `images` are the file ids of the image parts
    in front of the text; only the first piece of a message has them.
    """

    run_id: str
    message_id: str
    step_id: str
    created_at: int
    text: str
    refusal: bool = False
    annotation: dict[str, Any] | None = None
    images: tuple[str, ...] = ()

    @property
    def length(self) -> int:
        """The characters of its text."""
        return len(self.text)


@dataclass(slots=True)
class StepCallDelta:
    """A piece of tool call number `index` of the open model call. Only its first piece has `id` and `name`.

    `arguments` is a piece of a function's arguments or of code_interpreter's code. It is empty for file_search, whose
    {ranking_options} are in `search` of the first piece.
    """

    run_id: str
    step_id: str
    created_at: int
    index: int
    id: str | None
    name: str | None
    arguments: str
    kind: str = "function"
    search: dict[str, Any] | None = None

    @property
    def length(self) -> int:
        """The characters of its text."""
        return len(self.arguments)


@dataclass(slots=True)
class StepOutputDelta:
    """A piece of output number `index` of a running code_interpreter call: text for its logs, or an image's file id."""

    run_id: str
    step_id: str
    call_id: str
    attempt: int
    index: int
    logs: str | None
    image: str | None

    @property
    def length(self) -> int:
        """The characters of its text."""
        return len(self.logs or "")


Delta = MessageTextDelta | StepCallDelta | StepOutputDelta


class CallDeltas:
    """The deltas of one call since its beginning, for watchers that come later."""

    def __init__(self) -> None:
        self._joined: list[Delta] = []
        self._newest: list[Delta] = []

    def add(self, deltas: Iterable[Delta]) -> None:
        self._newest += deltas
        if len(self._newest) > KEPT_APART:
            self.join()

    def join(self) -> list[Delta]:
        """Returns few deltas that add up to all of the call."""
        self._joined = join_deltas([*self._joined, *self._newest])
        self._newest = []
        return list(self._joined)


def join_deltas(deltas: Iterable[Delta]) -> list[Delta]:
    """Returns fewer deltas that add up to the same: one for the consecutive pieces of a text."""
    joined: list[Delta] = []
    texts: list[str] = []
    for delta in deltas:
        if joined and _continues(joined[-1], delta):
            texts.append(_text_of(delta))
            continue
        _end_text(joined, texts)
        joined.append(delta)
    _end_text(joined, texts)
    return joined


def deltas_after(whole: Sequence[Delta], known: Sequence[Delta]) -> list[Delta]:
    """Returns the deltas that follow `known` in `whole`. Both are joined, and begin with the same call."""
    if not known:
        return list(whole)
    place, length = len(known) - 1, known[-1].length
    later = list(whole[len(known) :])
    match whole[place]:
        case MessageTextDelta(text=text) as last if text[length:]:
            return [replace(last, text=text[length:], images=()), *later]
        case StepCallDelta(arguments=text) as last if text[length:]:
            return [replace(last, id=None, name=None, search=None, arguments=text[length:]), *later]
        case StepOutputDelta(logs=logs) as last if (logs or "")[length:]:
            return [replace(last, logs=(logs or "")[length:]), *later]
        case _:
            return later


def _end_text(joined: list[Delta], texts: list[str]) -> None:
    """Appends the texts to the last delta, and clears them."""
    if not texts:
        return
    match joined[-1]:
        case MessageTextDelta(text=text) as last:
            joined[-1] = replace(last, text="".join([text, *texts]))
        case StepCallDelta(arguments=text) as last:
            joined[-1] = replace(last, arguments="".join([text, *texts]))
        case StepOutputDelta(logs=logs) as last:
            joined[-1] = replace(last, logs="".join([logs or "", *texts]))
    texts.clear()


def _continues(last: Delta, delta: Delta) -> bool:
    """Returns whether the delta is a further piece of the same text."""
    match last, delta:
        case MessageTextDelta(annotation=None), MessageTextDelta(annotation=None, images=()):
            return (last.message_id, last.refusal) == (delta.message_id, delta.refusal)
        case StepCallDelta(), StepCallDelta(id=None):
            return (last.step_id, last.index) == (delta.step_id, delta.index)
        case StepOutputDelta(image=None), StepOutputDelta(image=None):
            place = (last.call_id, last.attempt, last.index)
            return place == (delta.call_id, delta.attempt, delta.index)
        case _:
            return False


def _text_of(delta: Delta) -> str:
    match delta:
        case MessageTextDelta(text=text):
            return text
        case StepCallDelta(arguments=text):
            return text
        case StepOutputDelta(logs=logs):
            return logs or ""
        case _:
            assert_never(delta)
