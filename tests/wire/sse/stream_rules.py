"""A client that checks the rules of SDKs for the order of frames (docs/behaviour.md, "Order of events")."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from typing import Any

import orjson

from service.wire.sse.run_stream import RunStream

_OVER = ("completed", "incomplete", "failed", "cancelled", "expired", "requires_action")


def parse(frame: bytes) -> tuple[str, Any]:
    """Returns a frame's event and data. Data that is not JSON stays text."""
    lines = frame.decode().removesuffix("\n\n").split("\n")
    fields = dict(line.split(": ", 1) for line in lines)
    assert list(fields) in (["id", "event", "data"], ["event", "data"])
    data = fields["data"]
    return fields["event"], data if data == "[DONE]" else orjson.loads(data)


class Watcher:
    """Feeds a stream and checks its frames: one step and message is open at a time, is created once, and ends."""

    def __init__(self, stream: RunStream) -> None:
        self.stream = stream
        self.frames: list[tuple[str, Any]] = []
        self.raw: list[bytes] = []
        self.messages: dict[str, dict[int, Any]] = {}
        self.calls: dict[str, dict[int, Any]] = {}
        self.ended: dict[str, Any] = {}
        self._open: dict[str, str | None] = {"message": None, "step": None}
        self._made: set[str] = set()

    def see(self, items: Iterable[Any]) -> list[str]:
        """Feeds `items` to the stream. Returns the names of its frames."""
        seen = len(self.frames)
        for item in items:
            for frame in self.stream.feed(item):
                self.raw.append(frame)
                self.frames.append(parse(frame))
                self._check(*self.frames[-1])
        return [event for event, _ in self.frames[seen:]]

    @property
    def names(self) -> list[str]:
        return [event for event, _ in self.frames]

    def data(self, event: str) -> Any:
        """Returns the data of the last frame of this name."""
        return [data for name, data in self.frames if name == event][-1]

    def content(self, message_id: str) -> list[Any]:
        """Returns the content that the deltas of a message add up to."""
        return [part for _, part in sorted(self.messages.get(message_id, {}).items())]

    def _check(self, event: str, data: Any) -> None:
        assert "done" not in self.names[:-1], "a frame behind the last"
        *_, noun, verb = ["", *event.removeprefix("thread.").split(".")]
        match noun, verb:
            case (("message" | "step"), "created"):
                assert self._open[noun] is None, f"two open {noun}s"
                assert data["id"] not in self._made, f"{data['id']} made twice"
                self._made.add(data["id"])
                self._open[noun] = data["id"]
            case (("message" | "step"), "delta"):
                assert self._open[noun] == data["id"], f"a delta of a {noun} that is not open"
                self._add(data)
            case "message", ("completed" | "incomplete"):
                assert self._open["message"] == data["id"]
                self._open["message"] = None
                self.ended[data["id"]] = data
            case "step", ("completed" | "failed" | "cancelled" | "expired"):
                assert self._open["step"] in (data["id"], None), "the end of a step that is not open"
                self._open["step"] = None
                self.ended[data["id"]] = data
            case "run", _ if verb in _OVER:
                assert self._open["message"] is None, "a run that leaves a message open"
                assert verb == "requires_action" or self._open["step"] is None, "a run that leaves a step open"
            case _, "done":
                assert self.stream.is_finished
                assert self.names[-2].removeprefix("thread.run.") in _OVER
            case _:
                pass

    def _add(self, data: Any) -> None:
        if data["object"] == "thread.message.delta":
            into, pieces = self.messages.setdefault(data["id"], {}), data["delta"]["content"]
        else:
            into, pieces = self.calls.setdefault(data["id"], {}), data["delta"]["step_details"]["tool_calls"]
        for piece in deepcopy(pieces):
            index = piece.pop("index")
            add_delta(into.setdefault(index, {}), piece)


def add_delta(whole: dict[str, Any], piece: dict[str, Any]) -> None:
    """Adds a delta as SDKs do: concatenates strings, merges lists by `index`, and keeps types."""
    for key, value in piece.items():
        if isinstance(value, list | dict):
            whole.setdefault(key, type(value)())
        if key not in whole or whole[key] is None:
            whole[key] = value
        elif isinstance(value, dict):
            add_delta(whole[key], value)
        elif isinstance(value, list):
            for item in value:
                place = item.pop("index")
                assert place <= len(whole[key]), f"a hole in {key}"
                if place == len(whole[key]):
                    whole[key].append({})
                add_delta(whole[key][place], item)
        elif isinstance(value, str) and key != "type":
            whole[key] += value
        else:
            assert whole[key] == value, f"{key} came again"
