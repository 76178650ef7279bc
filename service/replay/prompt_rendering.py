"""Renders the request of a model call again from the log, and compares it with what was sent by its hash. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, assert_never

from events.objects import Message, Step
from events.thread.events import PromptRecord
from service.model.base import ChatRequest, ModelInfo
from service.model.catalog import Endpoint, ModelRoute
from service.model.function_choice import required_call_request
from service.model.request import build_body
from service.model.request_journal import RequestForm
from service.model.tool_prompt import prompted_request
from service.replay.call_prompts import CallPrompt
from service.runs import prompt
from service.runs.chat_request import build_chat_request
from service.runs.history_cache import Placed
from service.runs.images import replace_images
from service.runs.prompt_records import RENDERER
from service.tools.base import MAX_SEEN
from service.tools.hosted_functions import HOSTED_FUNCTIONS

# exact: rendered now, with the hash of what was sent. kept: the log has the bytes. differs: rendered now, with another
# hash. unchecked: rendered now, without image files that were sent. unrecorded: rendered now, and nothing was recorded.
Fidelity = Literal["exact", "kept", "differs", "unchecked", "unrecorded"]
_PLACEHOLDER = "data:,"


@dataclass(frozen=True, slots=True)
class PromptUnit:
    """A unit of the history: the ids of its message and its step, and its chat messages."""

    ids: tuple[str, ...]
    messages: prompt.Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedPrompt:
    """A request of a model call.

    `body` are its bytes: those that were sent if `fidelity` is exact or kept. `head` and `units` are its messages
    before the upstream's form of tools and its refusals changed them; `dropped` are the units that truncation left out.
    """

    fidelity: Fidelity
    body: bytes
    head: prompt.Unit
    units: Sequence[PromptUnit]
    dropped: Sequence[PromptUnit]
    tools: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class AssumedModel:
    """The model of a call whose request was not recorded. `room` is that of a hosted call's output."""

    model: str
    limit_field: Literal["max_tokens", "max_completion_tokens"] = "max_completion_tokens"
    vision: bool = False
    room: int = MAX_SEEN


def render_prompt(
    call: CallPrompt,
    *,
    urls: Mapping[str, str] | None = None,
    assumed: AssumedModel | None = None,
    functions: Mapping[str, Mapping[str, Any]] = HOSTED_FUNCTIONS,
) -> RenderedPrompt:
    """Returns the request of an attempt as it was sent, or as it is rendered now.

    `urls` has the data URLs of the image files that were sent, by file id. `assumed` is used if nothing was recorded.
    `functions` are the descriptions of hosted tools (`hosted_functions.py`).
    """
    record = call.record
    if record is None:
        assumed = assumed or AssumedModel(call.run.model)
        record = PromptRecord(
            renderer=RENDERER,
            sha256="",
            bytes=0,
            model=assumed.model,
            limit_field=assumed.limit_field,
            vision=assumed.vision,
            room=assumed.room,
        )
        return _render(call, record, call.placed, urls or {}, functions, "unrecorded")
    rendered = None
    for placed in _possible_entries(call, record):
        attempt = _render(call, record, placed, urls or {}, functions, "differs")
        if hashlib.sha256(attempt.body).hexdigest() == record.sha256:
            return replace(attempt, fidelity="exact")
        rendered = rendered or attempt
    assert rendered is not None
    if record.body is not None:
        return replace(rendered, fidelity="kept", body=record.body.encode())
    is_unchecked = not (urls or {}).keys() >= record.images.keys()
    return replace(rendered, fidelity="unchecked") if is_unchecked else rendered


def _possible_entries(call: CallPrompt, record: PromptRecord) -> list[Sequence[Placed]]:
    """Returns the entries that the prompt may have been built from: those at the recorded version, and those after each
    later deletion, since some reads of the history do not know their version.
    """
    version = call.version if record.version is None else max(record.version, call.version)
    versions = [version, *sorted(deleted for deleted in call.deleted.values() if deleted > version)]
    return [[placed for placed in call.placed if call.deleted.get(placed[1].id, at + 1) > at] for at in versions]


def _render(
    call: CallPrompt,
    record: PromptRecord,
    placed: Sequence[Placed],
    urls: Mapping[str, str],
    functions: Mapping[str, Mapping[str, Any]],
    fidelity: Fidelity,
) -> RenderedPrompt:
    run = call.run
    entries: list[tuple[int, Message | Step]] = list(enumerate((entry for _, entry in placed), start=1))
    if record.vision:
        entries = replace_images(entries, {id: urls.get(id, _PLACEHOLDER) for id in record.images})
    units = [
        PromptUnit(
            tuple(entry.id for entry in group),
            prompt.render_unit(group, vision=record.vision, room=record.room, run_id=run.id),
        )
        for group in prompt.group_entries(entries)
    ]
    sent, dropped = _split(units, record)
    head, tools = prompt.system_message(run, record.briefs), prompt.chat_tools(run, functions)
    request = build_chat_request(
        run, call=call.call, spent=call.spent, head=head, tools=tools, units=[unit.messages for unit in sent]
    )
    return RenderedPrompt(
        fidelity=fidelity,
        body=build_body(_route(record), _in_form(request, record.form), record.refused),
        head=head,
        units=sent,
        dropped=dropped,
        tools=tools,
    )


def _split(units: list[PromptUnit], record: PromptRecord) -> tuple[list[PromptUnit], list[PromptUnit]]:
    """Returns the units that were sent, and those that truncation left out."""
    if record.dropped is None:
        return units, []
    first, end = int(record.dropped.keeps_first), max(0, len(units) - record.dropped.newest)
    return [*units[:first], *units[max(first, end) :]], units[first : max(first, end)]


def _in_form(request: ChatRequest, form: RequestForm) -> ChatRequest:
    match form:
        case "native":
            return request
        case "required":
            return required_call_request(request)
        case "prompted":
            return prompted_request(request)
        case _:
            assert_never(form)


def _route(record: PromptRecord) -> ModelRoute:
    """Returns the facts about the upstream that a body depends on; the others are empty."""
    info = ModelInfo(
        upstream_name=record.model, context_window=0, encoding="", margin=1.0, vision=record.vision, tools=True
    )
    return ModelRoute(Endpoint("", None), info, record.limit_field)
