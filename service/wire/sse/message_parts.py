"""What a stream has shown of messages' content, and what of a whole message it has not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson

from events.objects import Json, Message
from service.deltas import MessageTextDelta
from service.wire.api import Wire
from service.wire.sse import frames


@dataclass(slots=True)
class StreamedPart:
    """A text or refusal that grows: `said` are its pieces so far. Most frames of it differ in one string only."""

    index: int
    type: str
    start: bytes
    end: bytes
    pieces: list[str] = field(default_factory=list)
    annotations: list[Json] = field(default_factory=list)

    def next_frame(self, text: str) -> bytes:
        """The hot path: only the text is encoded, the rest of the frame is ready."""
        self.pieces.append(text)
        return self.start + orjson.dumps(text) + self.end


def new_part(message_id: str, index: int, kind: str) -> StreamedPart:
    """`kind` is text or refusal. Frames are what `message_delta` makes of a part without annotations."""
    mark = "\x00"
    shown = mark if kind == "refusal" else {"value": mark}
    start, end = frames.message_delta(message_id, {"index": index, "type": kind, kind: shown}).split(orjson.dumps(mark))
    return StreamedPart(index, kind, start, end)


class StreamedContent:
    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        # Image parts of a message stand in front of its words; by message, and whether it is the refusal.
        self._images: dict[str, list[str]] = {}
        self._parts: dict[tuple[str, bool], StreamedPart] = {}

    def live_frames(self, item: MessageTextDelta) -> list[bytes]:
        """A live piece as frames."""
        part = self._parts.get((item.message_id, item.refusal))
        if part is None:
            return self._first_frames(item)
        if item.annotation is None:
            return [part.next_frame(item.text)]
        return [self._next_frame(item.message_id, part, item.text, [item.annotation])]

    def remaining_frames(self, message: Message) -> list[bytes]:
        """What of a message was not shown yet: whole parts, or the end of a part that was shown in pieces."""
        told: list[bytes] = []
        unmatched = {refusal for owner, refusal in self._parts if owner == message.id}
        images = [part["image_file"]["file_id"] for part in message.content if part["type"] == "image_file"]
        if unmatched and images != self._images[message.id]:
            return []  # words were shown in the images' places
        for index, part in enumerate(message.content):
            if part["type"] not in ("text", "refusal"):
                if message.id not in self._images:
                    told.append(self._whole_frame(message.id, index, part))
                continue
            refusal = part["type"] == "refusal"
            words: str = part["refusal"] if refusal else part["text"]["value"]
            shown = self._parts.get((message.id, refusal))
            unmatched.discard(refusal)
            if shown is None:
                told += [self._whole_frame(message.id, index, part)] if words else []
                continue
            said = "".join(shown.pieces)
            annotations: list[Json] = [] if refusal else part["text"]["annotations"]
            known = len(shown.annotations)
            if not words.startswith(said) or annotations[:known] != shown.annotations:
                return []
            if annotations[known:]:
                told.append(self._next_frame(message.id, shown, words[len(said) :], annotations[known:]))
            elif words != said:
                told.append(shown.next_frame(words[len(said) :]))
        # Of a process that had lost its claim some pieces may still have come: then the whole message follows at once.
        return [] if unmatched else told

    def content_so_far(self, message_id: str) -> list[Json]:
        """A message's content as far as it was shown."""
        content = [image_part(file_id) for file_id in self._images.get(message_id, ())]
        for (owner, refusal), part in self._parts.items():
            if owner == message_id:
                text = "".join(part.pieces)
                content.append(frames.refusal_part(text) if refusal else frames.text_part(text, part.annotations))
        return content

    def _first_frames(self, item: MessageTextDelta) -> list[bytes]:
        """The first piece of a message's text or refusal, behind the images that stand in front of it."""
        told: list[bytes] = []
        if item.message_id not in self._images:
            images = self._images[item.message_id] = list(item.images)
            told = [
                self._whole_frame(item.message_id, index, image_part(file_id)) for index, file_id in enumerate(images)
            ]
        index = len(self._images[item.message_id]) + sum(owner == item.message_id for owner, _ in self._parts)
        annotations = [item.annotation] if item.annotation is not None else []
        said = frames.refusal_part(item.text) if item.refusal else frames.text_part(item.text, annotations)
        shown = self._wire.render_delta_part(said)
        part = new_part(item.message_id, index, shown["type"])
        part.pieces.append(item.text)
        part.annotations += annotations
        self._parts[item.message_id, item.refusal] = part
        return [*told, frames.message_delta(item.message_id, frames.indexed_part(index, shown))]

    def _next_frame(self, message_id: str, part: StreamedPart, text: str, annotations: Sequence[Json]) -> bytes:
        """More of a text, with annotations that were not shown yet."""
        shown = self._wire.render_delta_part(frames.text_part(text, annotations))
        delta = frames.indexed_part(part.index, shown, len(part.annotations))
        part.pieces.append(text)
        part.annotations += annotations
        return frames.message_delta(message_id, delta)

    def _whole_frame(self, message_id: str, index: int, part: Json) -> bytes:
        return frames.message_delta(message_id, frames.indexed_part(index, self._wire.render_delta_part(part)))


def image_part(file_id: str) -> Json:
    return {"type": "image_file", "image_file": {"file_id": file_id}}
