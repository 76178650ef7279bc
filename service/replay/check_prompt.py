"""Renders the recorded request of a model call again, and compares it with what was sent. Pure."""

from __future__ import annotations

import difflib
import hashlib
from dataclasses import dataclass
from typing import Literal

import orjson

from events.thread import events as e
from service.replay.call_prompts import CallEnd, CallPrompt
from service.replay.prompt_rendering import render_prompt

# Lines of a unified diff, and characters of each.
MAX_DIFF_LINES = 60
MAX_LINE = 300
# A request that cannot be compared: image files were sent with it, or the log alone does not determine it.
UNCHECKED: Literal["unchecked"] = "unchecked"


@dataclass(frozen=True, slots=True)
class PromptDeviation:
    """A request that is rendered in another way today. `diff` are lines of a unified diff, if the body was recorded."""

    today: str
    diff: tuple[str, ...] = ()


def has_prompt(event: e.ThreadEvent) -> bool:
    """Returns whether the event records a request."""
    return isinstance(event, CallEnd) and event.prompt is not None


def prompt_deviation(
    call: CallPrompt, record: e.PromptRecord, body: str | None
) -> PromptDeviation | Literal["unchecked"] | None:
    """Returns how today's request differs from the recorded one, None if it is the same, or UNCHECKED.

    `body` is the one that was sent, if it is known.
    """
    rendered = render_prompt(call)
    if rendered.fidelity == "exact":
        return None
    if rendered.fidelity != "differs" or record.is_cut:
        return UNCHECKED
    today = f"one of {len(rendered.body):,} bytes with the SHA-256 {hashlib.sha256(rendered.body).hexdigest()}"
    return PromptDeviation(today, () if body is None else _diff(body.encode(), rendered.body))


def _diff(sent: bytes, today: bytes) -> tuple[str, ...]:
    lines = list(difflib.unified_diff(_lines(sent), _lines(today), "recorded", "today", n=2, lineterm=""))
    left = len(lines) - MAX_DIFF_LINES
    cut = [line if len(line) <= MAX_LINE else f"{line[:MAX_LINE]}…" for line in lines[:MAX_DIFF_LINES]]
    return (*cut, *([f"… {left} further lines"] if left > 0 else []))


def _lines(body: bytes) -> list[str]:
    return orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2).decode().splitlines()
