"""A model call's reply as it grows: the whole of it for the log, and pieces for those who watch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from events.ids import new_id
from events.thread_commands import Partial
from events.thread_state import OpenCall
from service.live import Live, LiveCall, LiveText
from service.model.base import Finished, ModelEvent, RefusalDelta, TextDelta, ToolCallDelta


@dataclass(slots=True)
class _Call:
    id: str
    name: str
    arguments: list[str]


@dataclass(slots=True)
class Reply:
    """Collects one model call. Tool calls get ids and places of ours, in the order of their first pieces: some
    upstreams repeat ids, or give none, and some do not number their calls from 0 up.

    Once there is text, tool calls are held back from watchers until the reply is whole: a stream may show only one open
    step at a time, and the message's ends first (BEHAVIOUR.md, "SSE").
    """

    run_id: str
    call: OpenCall
    finished: Finished | None = None
    _text: list[str] = field(default_factory=list)
    _refusal: list[str] = field(default_factory=list)
    _calls: dict[int, _Call] = field(default_factory=dict)

    def take(self, events: Iterable[ModelEvent]) -> list[Live]:
        """Adds what the model said; returns what watchers may see of it at once."""
        live: list[Live] = []
        for event in events:
            match event:
                case TextDelta(text="") | RefusalDelta(text=""):
                    pass  # nothing said: calls that follow need not wait for it
                case TextDelta(text=text):
                    self._text.append(text)
                    live += self._shown(text, refusal=False)
                case RefusalDelta(text=text):
                    self._refusal.append(text)
                    live += self._shown(text, refusal=True)
                case ToolCallDelta():
                    live += self._called(event)
                case Finished():
                    self.finished = event
        return live

    @property
    def said(self) -> Partial:
        """All that was said so far."""
        calls = [
            {"id": call.id, "name": call.name, "arguments": "".join(call.arguments)} for call in self._calls.values()
        ]
        return Partial("".join(self._text), "".join(self._refusal), calls)

    def _shown(self, text: str, *, refusal: bool) -> list[Live]:
        if self._calls:
            return []
        call = self.call
        return [LiveText(self.run_id, call.message_id, call.message_step_id, call.started_at, text, refusal)]

    def _called(self, delta: ToolCallDelta) -> list[Live]:
        known = self._calls.get(delta.index)
        if known is None:
            known = self._calls[delta.index] = _Call(new_id("call"), delta.name or "", [])
            first = True
        else:
            first = False
        known.arguments.append(delta.arguments)
        if self._text or self._refusal:
            return []
        index = list(self._calls).index(delta.index)
        step, at = self.call.tool_step_id, self.call.started_at
        id, name = (known.id, known.name) if first else (None, None)
        return [LiveCall(self.run_id, step, at, index, id, name, delta.arguments)]
