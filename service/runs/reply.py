"""A model call's reply as it grows: the whole of it for the log, and pieces for those who watch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from events.ids import IdSource
from events.thread.commands import PartialReply
from events.thread.state import OpenModelCall
from service.deltas import Delta, MessageTextDelta, StepCallDelta
from service.model.base import ModelEvent, ModelStreamEnd, RefusalDelta, TextDelta, ToolCallDelta
from service.partial_json import CodeInput
from service.runs.annotations import Annotator, Said, annotate
from service.runs.artifacts import Gathered


@dataclass(slots=True)
class _Call:
    """`hosted` is the run's tool that is called, for example {"type": "code_interpreter"}; None for a function."""

    id: str
    name: str
    hosted: Mapping[str, Any] | None
    arguments: list[str] = field(default_factory=list)
    code: CodeInput = field(default_factory=CodeInput)

    @property
    def kind(self) -> str:
        return "function" if self.hosted is None else str(self.hosted["type"])

    def whole(self) -> dict[str, Any]:
        """The call as commands have it."""
        call = {"id": self.id, "name": self.name, "arguments": "".join(self.arguments)}
        if self.kind == "function":
            return call
        search = self.search()
        return {**call, "type": self.kind, **({"file_search": search} if search is not None else {})}

    def search(self) -> dict[str, Any] | None:
        """What a step shows of a file_search from its beginning."""
        if self.hosted is None or self.kind != "file_search":
            return None
        ranking = self.hosted.get("file_search", {}).get("ranking_options", {})
        return {"ranking_options": {name: ranking[name] for name in ("ranker", "score_threshold") if name in ranking}}

    def shown(self, arguments: str) -> str:
        """What watchers see of a piece of the arguments."""
        match self.kind:
            case "function":
                return arguments
            case "code_interpreter":
                return self.code.feed(arguments)
            case _:
                return ""


class Reply:
    """Collects one model call. Tool calls get ids and places of ours, in the order of their first pieces: some
    upstreams repeat ids, or give none, and some do not number their calls from 0 up.

    Once there is text, tool calls are held back from watchers until the reply is whole: a stream may show only one open
    step at a time, and the message's ends first (docs/behaviour.md, "Order of events").

    `hosted` are the run's hosted tools by the names of their functions; `brought` is what they made for this message.
    """

    def __init__(
        self,
        run_id: str,
        call: OpenModelCall,
        *,
        ids: IdSource,
        hosted: Mapping[str, Mapping[str, Any]] | None = None,
        brought: Gathered | None = None,
    ) -> None:
        self.finished: ModelStreamEnd | None = None
        self._run_id = run_id
        self._call = call
        self._ids = ids
        self._hosted = hosted or {}
        self._brought = brought or Gathered()
        self._annotator = Annotator(self._brought.marks)
        self._text: list[str] = []
        self._refusal: list[str] = []
        self._calls: dict[int, _Call] = {}
        self._begun = False

    def take(self, events: Iterable[ModelEvent]) -> list[Delta]:
        """Adds what the model said; returns what watchers may see of it at once."""
        live: list[Delta] = []
        for event in events:
            match event:
                case TextDelta(text="") | RefusalDelta(text=""):
                    pass  # nothing said: calls that follow need not wait for it
                case TextDelta(text=text):
                    self._text.append(text)
                    live += self._shown(self._annotator.feed(text))
                case RefusalDelta(text=text):
                    self._refusal.append(text)
                    live += self._shown([(text, None)], refusal=True)
                case ToolCallDelta():
                    live += self._called(event)
                case ModelStreamEnd():
                    self.finished = event
                    live += self._shown(self._annotator.end())
        return live

    @property
    def said(self) -> PartialReply:
        """All that was said so far."""
        text, calls = "".join(self._text), [call.whole() for call in self._calls.values()]
        refusal, brought = "".join(self._refusal), self._brought
        annotations = annotate(text, brought.marks)
        return PartialReply(text, refusal, calls, annotations, brought.images, brought.attachments)

    def _shown(self, said: Iterable[Said], *, refusal: bool = False) -> list[Delta]:
        if self._calls:
            return []
        live: list[Delta] = []
        call = self._call
        for text, annotation in said:
            images = () if self._begun else tuple(self._brought.images)
            self._begun = True
            ids = (self._run_id, call.message_id, call.message_step_id, call.started_at)
            live.append(MessageTextDelta(*ids, text, refusal, annotation, images))
        return live

    def _called(self, delta: ToolCallDelta) -> list[Delta]:
        known = self._calls.get(delta.index)
        first = known is None
        if known is None:
            name = delta.name or ""
            known = self._calls[delta.index] = _Call(self._ids.new("call"), name, self._hosted.get(name))
        known.arguments.append(delta.arguments)
        shown = known.shown(delta.arguments)
        if self._text or self._refusal:
            return []
        if not (first or shown) and known.hosted is not None:
            return []
        index = list(self._calls).index(delta.index)
        step, at = self._call.tool_step_id, self._call.started_at
        if not first:
            return [StepCallDelta(self._run_id, step, at, index, None, None, shown, known.kind)]
        began = (known.id, known.name, shown, known.kind, known.search())
        return [StepCallDelta(self._run_id, step, at, index, *began)]
