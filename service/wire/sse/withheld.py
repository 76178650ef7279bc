"""The output of an open call that a resumed client has already. It is dropped when it comes again."""

from __future__ import annotations

from dataclasses import replace

from service.deltas import MessageTextDelta, StepCallDelta, StepOutputDelta
from service.wire.sse.stream_point import CallProgress


class WithheldOutput:
    """The beginning of a call's output, by the numbers of `CallProgress`. Deltas from the call's beginning repeat it.

    `images` counts the frames of images that the client has, if it has nothing else of the message.
    """

    def __init__(self, progress: CallProgress) -> None:
        self.lengths = progress.lengths or ()
        self.images = self.lengths[1] if progress.kind == "m" and len(self.lengths) > 1 else 0
        self._left = list(self.lengths)

    def split_text(self, delta: MessageTextDelta) -> tuple[MessageTextDelta | None, MessageTextDelta | None]:
        """Returns the part of the delta that the client has, and the part that it lacks; None for an empty part."""
        left = self._left[0]
        self._left[0] = max(0, left - len(delta.text))
        if left >= len(delta.text):
            return delta, None
        if left == 0 or delta.annotation is not None:
            return None, delta
        return replace(delta, text=delta.text[:left]), replace(delta, text=delta.text[left:], images=())

    def split_call(self, delta: StepCallDelta) -> tuple[StepCallDelta | None, StepCallDelta | None]:
        """As `split_text`."""
        if delta.index >= len(self._left):
            return None, delta
        left = self._left[delta.index]
        self._left[delta.index] = max(0, left - len(delta.arguments))
        if left >= len(delta.arguments):
            return delta, None
        rest = replace(delta, id=None, name=None, search=None, arguments=delta.arguments[left:])
        return (replace(delta, arguments=delta.arguments[:left]) if left or delta.id else None), rest

    def split_output(self, delta: StepOutputDelta) -> tuple[StepOutputDelta | None, StepOutputDelta | None]:
        """As `split_text`."""
        outputs, left = self._left
        if delta.index >= outputs:
            return None, delta
        if delta.index < outputs - 1 or delta.logs is None:
            return delta, None
        self._left[1] = max(0, left - len(delta.logs))
        if left >= len(delta.logs):
            return delta, None
        seen = replace(delta, logs=delta.logs[:left]) if left else None
        return seen, replace(delta, logs=delta.logs[left:])
