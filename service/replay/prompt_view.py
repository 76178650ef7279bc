"""The request of a model call as people and programs see it: its parts with their tokens, and what was left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from events.thread.events import PromptRecord
from service.replay.call_prompts import CallPrompt
from service.replay.deletions import DELETED_CONTENT
from service.replay.prompt_rendering import AssumedModel, Fidelity, PromptUnit, render_prompt
from service.runs import prompt

# Returns the number of tokens of a text.
TokenCount = Callable[[str], int]
_DELETED = DELETED_CONTENT[0]["text"]["value"]  # type: ignore[index]


@dataclass(frozen=True, slots=True)
class PromptPart:
    """A part of a prompt: the instructions (`kind` is system), the tools, or a unit of the history.

    `ids` are those of the message and the step of a unit. `messages` are chat messages, or tools. `tokens` is null if
    they were not counted.
    """

    kind: str
    ids: tuple[str, ...]
    tokens: int | None
    messages: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptView:
    """A request: its parts in order, and the units that truncation dropped.

    `left_out` counts the messages and steps that the run's own truncation strategy left out before. `body` is the exact
    body; null if it is not known exactly, or if a message in it is hidden.
    """

    fidelity: Fidelity
    record: PromptRecord | None
    parts: Sequence[PromptPart]
    dropped: Sequence[PromptPart]
    left_out: int
    body: bytes | None

    @property
    def tokens(self) -> int | None:
        """The tokens of all parts, null if they were not counted."""
        counted = [part.tokens for part in self.parts]
        return None if None in counted else sum(tokens or 0 for tokens in counted)

    def to_json(self) -> dict[str, Any]:
        """Returns the view as JSON."""
        record = self.record
        facts = {} if record is None else record.model_dump(mode="json", exclude={"body", "version"})
        return {
            "fidelity": self.fidelity,
            **facts,
            "tokens": self.tokens,
            "parts": [_part_json(part) for part in self.parts],
            "dropped": None
            if record is None or record.dropped is None
            else {**record.dropped.model_dump(mode="json"), "parts": [_part_json(part) for part in self.dropped]},
            "left_out": self.left_out,
            "body": None if self.body is None else self.body.decode(),
        }


def view_prompt(
    call: CallPrompt,
    *,
    hidden: frozenset[str] = frozenset(),
    count: TokenCount | None = None,
    urls: Mapping[str, str] | None = None,
    assumed: AssumedModel | None = None,
) -> PromptView:
    """Returns the request of an attempt. The contents of messages whose ids are `hidden` are left out.

    `count` blocks, if it is given. `urls` and `assumed` are those of `render_prompt`.
    """
    rendered = render_prompt(call, urls=urls, assumed=assumed)

    def part(unit: PromptUnit) -> PromptPart:
        kind = str(unit.messages[0]["role"])
        tokens = None if count is None else prompt.count_unit_tokens(unit.messages, count)
        return PromptPart(kind, unit.ids, tokens, _without_hidden(unit, hidden))

    parts = [part(PromptUnit((), [message])) for message in rendered.head]
    if rendered.tools:
        tokens = None if count is None else count(orjson.dumps(list(rendered.tools)).decode())
        parts.append(PromptPart("tools", (), tokens, rendered.tools))
    parts += [part(unit) for unit in rendered.units]
    shown = {id for unit in rendered.units for id in unit.ids}
    is_exact = rendered.fidelity in ("exact", "kept") and hidden.isdisjoint(shown)
    if rendered.fidelity == "kept" and not hidden.isdisjoint(entry.id for _, entry in call.placed):
        is_exact = False
    return PromptView(
        fidelity=rendered.fidelity,
        record=call.record,
        parts=parts,
        dropped=[part(unit) for unit in rendered.dropped],
        left_out=call.left_out,
        body=rendered.body if is_exact else None,
    )


def _without_hidden(unit: PromptUnit, hidden: frozenset[str]) -> Sequence[Mapping[str, Any]]:
    """Returns the chat messages of a unit. Its first id is that of its message, if it has one."""
    if not unit.ids or unit.ids[0] not in hidden:
        return unit.messages
    return [{**unit.messages[0], "content": _DELETED}, *unit.messages[1:]]


def _part_json(part: PromptPart) -> dict[str, Any]:
    return {"kind": part.kind, "ids": list(part.ids), "tokens": part.tokens, "messages": list(part.messages)}
