"""Tracks the content of messages that a stream has sent, and renders the content that is left to send."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import orjson

from events.objects import Json, Message
from service.deltas import MessageTextDelta
from service.wire.api import Wire
from service.wire.sse import frames

# Frames that are kept for the other watchers of a run, which get them in the same turns of the event loop.
RENDERED = 64


@dataclass(slots=True)
class StreamedPart:
    """A text or refusal of which a stream has sent `pieces`. `start` and `end` are a frame without its text."""

    index: int
    start: bytes
    end: bytes
    pieces: list[str] = field(default_factory=list)
    annotations: list[Json] = field(default_factory=list)

    def next_frame(self, text: str) -> bytes:
        """Returns the frame of one more piece. Only the text is encoded, since this runs for every token."""
        self.pieces.append(text)
        return _text_frame(self.start, text, self.end)


@lru_cache(maxsize=RENDERED)
def _text_frame(start: bytes, text: str, end: bytes) -> bytes:
    """Returns the frame of a piece of text. The watchers of a run get the same one, so it is rendered once."""
    return start + orjson.dumps(text) + end


def new_part(message_id: str, index: int, type: str) -> StreamedPart:
    """`type` is "text" or "refusal". The part's frames equal those of `message_delta` without annotations."""
    mark = "\x00"
    value = mark if type == "refusal" else {"value": mark}
    start, end = frames.message_delta(message_id, {"index": index, "type": type, type: value}).split(orjson.dumps(mark))
    return StreamedPart(index, start, end)


class StreamedContent:
    """The content of the messages of one run, as far as its stream has sent it."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        # File ids of the image parts in front of a message's text, by message id.
        self._images: dict[str, list[str]] = {}
        # Parts by message id, and whether the part is the message's refusal.
        self._parts: dict[tuple[str, bool], StreamedPart] = {}

    def delta_frames(self, delta: MessageTextDelta) -> list[bytes]:
        part = self._parts.get((delta.message_id, delta.refusal))
        if part is None:
            return self._first_frames(delta)
        if delta.annotation is None:
            part.pieces.append(delta.text)
            return [_text_frame(part.start, delta.text, part.end)]
        return [self._next_frame(delta.message_id, part, delta.text, [delta.annotation])]

    def remaining_frames(self, message: Message) -> list[bytes]:
        """Returns frames for the content of a complete message that was not sent: whole parts, and the ends of parts.

        Returns none if the content that was sent differs from the message. The message follows as a whole anyway.
        """
        remaining: list[bytes] = []
        unmatched = {refusal for owner, refusal in self._parts if owner == message.id}
        images = [part["image_file"]["file_id"] for part in message.content if part["type"] == "image_file"]
        if unmatched and images != self._images[message.id]:
            return []  # text was sent under the indices of images
        for index, part in enumerate(message.content):
            if part["type"] not in ("text", "refusal"):
                if message.id not in self._images:
                    remaining.append(self._whole_frame(message.id, index, part))
                continue
            refusal = part["type"] == "refusal"
            text: str = part["refusal"] if refusal else part["text"]["value"]
            sent = self._parts.get((message.id, refusal))
            unmatched.discard(refusal)
            if sent is None:
                remaining += [self._whole_frame(message.id, index, part)] if text else []
                continue
            sent_text = "".join(sent.pieces)
            annotations: list[Json] = [] if refusal else part["text"]["annotations"]
            known = len(sent.annotations)
            if not text.startswith(sent_text) or annotations[:known] != sent.annotations:
                return []
            if annotations[known:]:
                remaining.append(self._next_frame(message.id, sent, text[len(sent_text) :], annotations[known:]))
            elif text != sent_text:
                remaining.append(sent.next_frame(text[len(sent_text) :]))
        # Deltas of a process that had lost its claim may have been sent too. They are not in the message.
        return [] if unmatched else remaining

    def assume(self, message: Message, length: int) -> None:
        """Assumes that the client has the images of a complete message, and `length` characters of its texts."""
        images = [part["image_file"]["file_id"] for part in message.content if part["type"] == "image_file"]
        if length == 0:
            return
        self._images[message.id] = images
        for index, part in enumerate(message.content):
            if part["type"] not in ("text", "refusal"):
                continue
            refusal = part["type"] == "refusal"
            text: str = part["refusal"] if refusal else part["text"]["value"]
            if sent := text[:length]:
                length -= len(sent)
                annotations = [] if refusal else part["text"]["annotations"]
                rendered = self._wire.render_delta_part(frames.refusal_part("") if refusal else frames.text_part(""))
                streamed = self._parts[message.id, refusal] = new_part(message.id, index, rendered["type"])
                streamed.pieces.append(sent)
                streamed.annotations += [one for one in annotations if one["end_index"] <= len(sent)]

    def content_so_far(self, message_id: str) -> list[Json]:
        """Returns the content of a message as far as it was sent."""
        content = [image_part(file_id) for file_id in self._images.get(message_id, ())]
        for (owner, refusal), part in self._parts.items():
            if owner == message_id:
                text = "".join(part.pieces)
                content.append(frames.refusal_part(text) if refusal else frames.text_part(text, part.annotations))
        return content

    def _first_frames(self, delta: MessageTextDelta) -> list[bytes]:
        """Returns frames for the first piece of a text or refusal, and for the images in front of it."""
        first: list[bytes] = []
        id = delta.message_id
        if id not in self._images:
            images = self._images[id] = list(delta.images)
            first = [self._whole_frame(id, index, image_part(file_id)) for index, file_id in enumerate(images)]
        index = len(self._images[id]) + sum(owner == id for owner, _ in self._parts)
        annotations = [delta.annotation] if delta.annotation is not None else []
        piece = frames.refusal_part(delta.text) if delta.refusal else frames.text_part(delta.text, annotations)
        rendered = self._wire.render_delta_part(piece)
        part = new_part(id, index, rendered["type"])
        part.pieces.append(delta.text)
        part.annotations += annotations
        self._parts[id, delta.refusal] = part
        return [*first, frames.message_delta(id, frames.indexed_part(index, rendered))]

    def _next_frame(self, message_id: str, part: StreamedPart, text: str, annotations: Sequence[Json]) -> bytes:
        """Returns a frame for one more piece of a text, with annotations."""
        rendered = self._wire.render_delta_part(frames.text_part(text, annotations))
        indexed = frames.indexed_part(part.index, rendered, len(part.annotations))
        part.pieces.append(text)
        part.annotations += annotations
        return frames.message_delta(message_id, indexed)

    def _whole_frame(self, message_id: str, index: int, part: Json) -> bytes:
        return frames.message_delta(message_id, frames.indexed_part(index, self._wire.render_delta_part(part)))


def image_part(file_id: str) -> Json:
    return {"type": "image_file", "image_file": {"file_id": file_id}}
