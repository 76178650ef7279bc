"""Points of a stream: the ids of its frames, from which a client that has lost its connection goes on.

An id is `version.frames`, or `version.frames.progress` while a call is open. The client has the frames of all events up
to the thread's `version`. `frames` counts those that it has received since. `progress` says how much of the open call's
output it has received before them:

    m12       12 characters of the message, and its images
    m0-1      the first image of the message
    c5-0      5 characters of the first tool call, and the beginning of the second one
    o2-7      2 outputs of the hosted call in execution, with 7 characters of the last one
    m, c      the first `frames` frames of the step in which the message or the tool calls are

To clients, ids are opaque.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

# Characters of an id. The longest are those of a reply with 128 tool calls.
MAX_ID = 2_000
_ID = re.compile(r"(\d{1,15})\.(\d{1,9})(?:\.([mco])(\d{1,9}(?:-\d{1,9})*)?)?", re.ASCII)
# Frames that open a step of tool calls, and those that open a step and its message.
_CALL_OPENING = 2
_MESSAGE_OPENING = 4
# How many numbers a progress has, from the least to the most.
_LENGTHS = {"m": (1, 2), "c": (1, MAX_ID), "o": (2, 2)}
ProgressKind = Literal["m", "c", "o"]
_KINDS: dict[str, ProgressKind] = {"m": "m", "c": "c", "o": "o"}


@dataclass(frozen=True, slots=True)
class CallProgress:
    """The output of the open call that a client has received: of its message, its tool calls, or a hosted tool.

    `lengths` are the numbers of an id; None if the call's step has been sent in part.
    """

    kind: ProgressKind
    lengths: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class StreamPoint:
    """A point of a stream. See the module."""

    version: int
    frames: int = 0
    progress: CallProgress | None = None


def parse_point(id: str) -> StreamPoint | None:
    """Returns the point that an id of a frame stands for, or None if the id has another form."""
    match = _ID.fullmatch(id) if len(id) <= MAX_ID else None
    if match is None:
        return None
    version, frames, kind, numbers = match.groups()
    if kind is None:
        return StreamPoint(int(version), int(frames))
    lengths = None if numbers is None else tuple(int(number) for number in numbers.split("-"))
    least, most = _LENGTHS[kind]
    if kind == "o" if lengths is None else not least <= len(lengths) <= most:
        return None
    return StreamPoint(int(version), int(frames), CallProgress(_KINDS[kind], lengths))


class FrameIds:
    """Gives the frames of a stream their ids, and drops the first `skip` frames, which the client has.

    `progress` before and after an item is b"", or a point and the progress of an id: b".m12".
    """

    def __init__(self) -> None:
        self._version = 0
        self._skip = 0

    def resume(self, point: StreamPoint) -> None:
        """Goes on behind this point."""
        self._version, self._skip = point.version, point.frames
        if point.progress is not None and point.progress.lengths is None:
            self._skip = max(0, point.frames - _CALL_OPENING) if point.progress.kind == "c" else 0

    def of_event(self, version: int, frames: list[bytes], before: bytes, after: bytes) -> list[bytes]:
        """Returns the frames of the event at this version with their ids."""
        self._version = version
        if not frames:
            return frames
        *others, last = frames
        first = 1 + _CALL_OPENING if before == b".c" else 1
        found = [b"id: %d.%d%b\n%b" % (version - 1, n, before, frame) for n, frame in enumerate(others, start=first)]
        found.append(b"id: %d.0%b\n%b" % (version, after, last))
        if self._skip:
            dropped = min(self._skip, len(found))
            self._skip -= dropped
            return found[dropped:]
        return found

    def of_delta(self, frames: list[bytes], before: bytes, after: bytes) -> list[bytes]:
        """Returns the frames of a delta with their ids."""
        if len(frames) == 1:
            return [b"id: %d.0%b\n%b" % (self._version, after, frames[0])]
        return [] if not frames else self._of_opening(frames, before, after)

    def of_step(self, frames: list[bytes], kind: ProgressKind, first: int) -> list[bytes]:
        """Returns the frames, the first of which is number `first`, that open the step of the call, with their ids."""
        opened = enumerate(frames, start=first)
        return [b"id: %d.%d.%b\n%b" % (self._version, n, kind.encode(), frame) for n, frame in opened]

    def _of_opening(self, frames: list[bytes], before: bytes, after: bytes) -> list[bytes]:
        """Returns the frames of a delta that opens its step, or that begins its message or tool call, with their ids.

        In front of the last frame are those that open the step, unless it is open; then those of the message's images,
        or the one that begins the tool call.
        """
        *others, last = frames
        kind: ProgressKind = "m" if after[1:2] == b"m" else "c"
        opening = 0 if before else _MESSAGE_OPENING if kind == "m" else _CALL_OPENING
        found = self.of_step(others[:opening], kind, 1)
        if kind == "m":
            images = enumerate(others[opening:], start=1 + _image_count(before))
            found += [b"id: %d.0.m0-%d\n%b" % (self._version, number, frame) for number, frame in images]
        else:
            begun = after[: max(after.rfind(b"-"), 1) + 1] + b"0"
            found += [b"id: %d.0%b\n%b" % (self._version, begun, frame) for frame in others[opening:]]
        return [*found, b"id: %d.0%b\n%b" % (self._version, after, last)]


def _image_count(progress: bytes) -> int:
    """Returns the number of images of a progress such as b".m0-1"."""
    return int(progress.partition(b"-")[2] or 0)
