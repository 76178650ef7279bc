"""Collects the reply of a model call: complete for the log, and in deltas for watchers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from io import StringIO
from typing import Any, assert_never

from events.ids import IdSource
from events.objects import Json
from events.thread.commands import PartialReply
from events.thread.state import OpenModelCall
from service.deltas import Delta, MessageTextDelta, StepCallDelta
from service.model.base import ModelEvent, ModelStreamEnd, RefusalDelta, TextDelta, ToolCallDelta
from service.partial_json import CodeInput
from service.runs.annotations import AnnotatedPiece, Annotator, annotate
from service.runs.artifacts import RunArtifacts
from service.runs.call_arguments import ArgumentPieces, object_text

MAX_UPSTREAM_ID = 256  # characters


@dataclass(slots=True)
class _GrowingCall:
    """A tool call in progress. `hosted` is the run's tool, such as {"type": "code_interpreter"}; None for functions.

    `upstream_id` is the id that the model server gave the call; None if it cannot be sent back.
    """

    id: str
    name: str
    hosted: Mapping[str, Any] | None
    upstream_id: str | None = None
    arguments: StringIO = field(default_factory=StringIO)
    code: CodeInput = field(default_factory=CodeInput)
    pieces: ArgumentPieces = field(default_factory=ArgumentPieces)

    @property
    def type(self) -> str:
        return "function" if self.hosted is None else str(self.hosted["type"])

    @property
    def search(self) -> Json | None:
        """The {ranking_options} of a file_search, as its step shows them."""
        if self.hosted is None or self.type != "file_search":
            return None
        ranking = self.hosted.get("file_search", {}).get("ranking_options", {})
        return {"ranking_options": {name: ranking[name] for name in ("ranker", "score_threshold") if name in ranking}}

    def to_json(self) -> Json:
        """Returns the call in the form that commands have."""
        arguments = self.arguments.getvalue()
        if self.type == "function":
            arguments = object_text(arguments)
        call = {"id": self.id, "name": self.name, "arguments": arguments}
        if self.upstream_id is not None:
            call["upstream_id"] = self.upstream_id
        if self.type == "function":
            return call
        search = self.search
        return {**call, "type": self.type, **({"file_search": search} if search is not None else {})}

    def visible_piece(self, arguments: str) -> str:
        """Returns the text that watchers see of a piece of the arguments."""
        match self.type:
            case "function":
                return self.pieces.feed(arguments)
            case "code_interpreter":
                return self.code.feed(arguments)
            case _:
                return ""


class Reply:
    """The reply of one model call, as far as it has arrived.

    Tool calls get new ids, and are numbered in the order of their first pieces, because some upstreams repeat ids or
    give none, and some do not number their calls from 0 up. The upstream's own ids are kept for later prompts, since
    some upstreams refuse others.

    If there is text, watchers see no tool calls before the reply is complete. A stream may show only one open step at a
    time, and the message's step ends first (docs/behaviour.md, "Order of events").

    `hosted` are the run's hosted tools by the names of their functions. `artifacts` go into this call's message.
    """

    def __init__(
        self,
        run_id: str,
        call: OpenModelCall,
        *,
        ids: IdSource,
        hosted: Mapping[str, Mapping[str, Any]] | None = None,
        artifacts: RunArtifacts | None = None,
    ) -> None:
        self.end: ModelStreamEnd | None = None
        self._run_id = run_id
        self._call = call
        self._ids = ids
        self._hosted = hosted or {}
        self._artifacts = artifacts or RunArtifacts()
        self._annotator = Annotator(self._artifacts.marks)
        self._text = StringIO()
        self._refusal = StringIO()
        self._calls: dict[int, _GrowingCall] = {}
        self._has_sent_images = False

    def add_events(self, events: Iterable[ModelEvent]) -> list[Delta]:
        """Adds events of the model's stream. Returns the deltas that watchers may see."""
        deltas: list[Delta] = []
        for event in events:
            match event:
                case TextDelta(text=text):
                    if text:  # an empty one is not text that would hold back tool calls
                        self._text.write(text)
                        deltas += self._text_deltas(self._annotator.feed(text))
                case RefusalDelta(text=text):
                    if text:
                        self._refusal.write(text)
                        deltas += self._text_deltas([(text, None)], refusal=True)
                case ToolCallDelta():
                    deltas += self._call_deltas(event)
                case ModelStreamEnd():
                    self.end = event
                    deltas += self._text_deltas(self._annotator.end())
                case _:
                    assert_never(event)
        return deltas

    @property
    def so_far(self) -> PartialReply:
        """The reply as far as it has arrived."""
        text = self._text.getvalue()
        return PartialReply(
            text=text,
            refusal=self._refusal.getvalue(),
            tool_calls=self._tool_calls(),
            annotations=annotate(text, self._artifacts.marks),
            images=self._artifacts.images,
            attachments=self._artifacts.attachments,
        )

    def _tool_calls(self) -> list[Json]:
        """Returns the calls in the form that commands have, with the fields that the upstream may want back."""
        calls = [call.to_json() for call in self._calls.values()]
        if self.end is None or not calls:
            return calls
        for index, call in zip(self._calls, calls, strict=True):
            if index in self.end.call_fields:
                call["upstream_fields"] = dict(self.end.call_fields[index])
        if self.end.message_fields:
            calls[0]["message_fields"] = dict(self.end.message_fields)
        return calls

    def _text_deltas(self, pieces: Iterable[AnnotatedPiece], *, refusal: bool = False) -> list[Delta]:
        if self._calls:
            return []
        deltas: list[Delta] = []
        for text, annotation in pieces:
            images = () if self._has_sent_images else tuple(self._artifacts.images)
            self._has_sent_images = True
            deltas.append(
                MessageTextDelta(
                    run_id=self._run_id,
                    message_id=self._call.message_id,
                    step_id=self._call.message_step_id,
                    created_at=self._call.started_at,
                    text=text,
                    refusal=refusal,
                    annotation=annotation,
                    images=images,
                )
            )
        return deltas

    def _unique_id(self, upstream_id: str | None) -> str | None:
        """Returns the model server's id of a new call, or None if it is too long or names another call already."""
        others = {call.upstream_id for call in self._calls.values()}
        is_usable = upstream_id and len(upstream_id) <= MAX_UPSTREAM_ID and upstream_id not in others
        return upstream_id if is_usable else None

    def _call_deltas(self, piece: ToolCallDelta) -> list[Delta]:
        call = self._calls.get(piece.index)
        is_first = call is None
        if call is None:
            name = piece.name or ""
            hosted, upstream_id = self._hosted.get(name), self._unique_id(piece.id)
            call = self._calls[piece.index] = _GrowingCall(self._ids.new("call"), name, hosted, upstream_id)
        call.arguments.write(piece.arguments)
        visible = call.visible_piece(piece.arguments)
        if self._text.tell() or self._refusal.tell():
            return []
        if not (is_first or visible) and call.hosted is not None:
            return []
        return [
            StepCallDelta(
                run_id=self._run_id,
                step_id=self._call.tool_step_id,
                created_at=self._call.started_at,
                index=list(self._calls).index(piece.index),
                id=call.id if is_first else None,
                name=call.name if is_first else None,
                arguments=visible,
                kind=call.type,
                search=call.search if is_first else None,
            )
        ]
