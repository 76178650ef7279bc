"""A client that holds one stream to the rules that SDKs hold streams to (docs/behaviour.md, "Order of events")."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from typing import Any

import orjson

from service.wire.sse.run_stream import RunStream

_OVER = ("completed", "incomplete", "failed", "cancelled", "expired", "requires_action")


def parse(frame: bytes) -> tuple[str, Any]:
    """A frame's event and data. Data that is no JSON stays text."""
    lines = frame.decode().removesuffix("\n\n").split("\n")
    fields = dict(line.split(": ", 1) for line in lines)
    assert list(fields) in (["id", "event", "data"], ["event", "data"])
    data = fields["data"]
    return fields["event"], data if data == "[DONE]" else orjson.loads(data)


class Watcher:
    """Feeds a stream and checks every frame: one open step and message at a time, each made once, ended in the end."""

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
        """The names of the events that `items` bring."""
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
        """The data of the last such event."""
        return [data for name, data in self.frames if name == event][-1]

    def content(self, message_id: str) -> list[Any]:
        """A message's content as its deltas add up."""
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
            add(into.setdefault(index, {}), piece)


def add(whole: dict[str, Any], piece: dict[str, Any]) -> None:
    """Adds a delta as SDKs do: strings concatenate, lists are merged by their items' indices, types stay."""
    for key, value in piece.items():
        if isinstance(value, list | dict):
            whole.setdefault(key, type(value)())
        if key not in whole or whole[key] is None:
            whole[key] = value
        elif isinstance(value, dict):
            add(whole[key], value)
        elif isinstance(value, list):
            for item in value:
                place = item.pop("index")
                assert place <= len(whole[key]), f"a hole in {key}"
                if place == len(whole[key]):
                    whole[key].append({})
                add(whole[key][place], item)
        elif isinstance(value, str) and key != "type":
            whole[key] += value
        else:
            assert whole[key] == value, f"{key} came again"
