"""The lines of a run's timeline for people: an event, the action after it, and the prompt of a model call."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from rich.text import Text

from service.cli.show import printable

if TYPE_CHECKING:
    from service.prices import Cost
    from service.replay.prompt_view import PromptPart, PromptView
    from service.replay.run_timeline import TimelineEntry

# Characters of a summary, and of a part of a prompt, that are printed for people.
MAX_SUMMARY = 300
MAX_PART = 2_000
# Parts of a prompt that are printed from its beginning and from its end.
MAX_FIRST, MAX_LAST = 5, 40
_INDENT = " " * 8
_FIDELITY = {
    "exact": "as it was sent (checked by its hash)",
    "kept": "as it was sent (kept in the log)",
    "differs": "rendered now; its hash is another one than that of what was sent",
    "unchecked": "rendered now; its image files were not read, so its hash is not checked",
    "unrecorded": "rendered now, not recorded",
}


def entry_lines(entry: TimelineEntry, *, is_first: bool, cost: Cost | None = None) -> list[Text]:
    """Returns the lines of an entry for people: the event, and the action after it, with escapes for control
    characters. `cost` is that of the model call that the event ends.
    """
    from events.actors import actor_text

    recorded, style = entry.recorded, "bold red" if entry.is_failure else ""
    time = f"{recorded.at.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3]
    when = time if is_first else f"{'+' + _seconds(entry.gap_s):>{len(time)}}"
    summary = printable(entry.summary, MAX_SUMMARY)
    line = Text.assemble(
        (f"{recorded.version:>6}  {when}  ", "dim"),
        (f"{recorded.event.type:<22}", style or "bold"),
        (f" {summary}", style),
        ("" if cost is None else f", {dollars(cost.input + cost.output)}", style),
        (f"  {actor_text(recorded.actor)}", "dim"),
    )
    if entry.action_text is None:
        return [line]
    return [line, Text(f"{'':>{len(time) + 10}}→ {printable(entry.action_text, MAX_SUMMARY)}", "cyan")]


def prompt_lines(prompt: PromptView, *, most: int = MAX_PART) -> list[Text]:
    """Returns the lines of a prompt: its parts with their tokens, at most `most` characters of each, and what was left
    out.
    """
    record = prompt.record
    size = "" if record is None else f", {record.bytes:,} bytes, sha256 {record.sha256[:16]}…"
    lines = [Text(f"{_INDENT}prompt {_FIDELITY[prompt.fidelity]}{_tokens(prompt.tokens)}{size}", "magenta")]
    lines += _omission_lines(prompt)
    parts = list(prompt.parts)
    cut = len(parts) - MAX_FIRST - MAX_LAST
    shown = parts if cut <= 0 else [*parts[:MAX_FIRST], *parts[-MAX_LAST:]]
    for number, part in enumerate(shown):
        if cut > 0 and number == MAX_FIRST:
            lines.append(Text(f"{_INDENT}… {cut} parts; --json prints all …", "dim"))
        lines += _part_lines(part, most)
    return lines


def _omission_lines(prompt: PromptView) -> list[Text]:
    """Returns the lines about failed requests, and about what the request did not contain."""
    record, lines = prompt.record, list[Text]()

    def add(text: str, style: str = "yellow") -> None:
        lines.append(Text(f"{_INDENT}{printable(text, MAX_SUMMARY)}", style))

    if prompt.left_out:
        add(f"{prompt.left_out} messages and steps left out by the run's truncation strategy last_messages")
    if record is None:
        return lines
    for retry in record.retries:
        add(
            f"a request before failed, the next one followed after {retry.wait_s:g} s: {retry.code}: {retry.message}",
            "red",
        )
    if record.refused:
        add(f"sent without what the server refuses: {', '.join(record.refused)}")
    if record.is_cut:
        add("the body is not kept: the events of the run keep enough bytes of bodies already")
    if record.dropped is not None:
        ids = ", ".join(part.ids[0] for part in prompt.dropped if part.ids)
        allowed = f"{record.dropped.allowed:,} tokens"
        add(f"{len(prompt.dropped)} units dropped by truncation, since the prompt may have {allowed}: {ids}")
    return lines


def dollars(amount: Decimal) -> str:
    """Returns an amount for people."""
    return f"${amount:.6f}"


def _part_lines(part: PromptPart, most: int) -> list[Text]:
    lines = [Text(f"{_INDENT}{'  '.join((part.kind, *part.ids))}{_tokens(part.tokens)}", "dim")]
    for message in part.messages:
        for text in _texts(message):
            lines += [Text(f"{_INDENT}  {line}") for line in printable(text, most).split("\n")]
    return lines


def _texts(message: Mapping[str, Any]) -> list[str]:
    """Returns the texts of a chat message or of a tool."""
    if "function" in message:
        function = message["function"]
        return [f"{function['name']}: {function.get('description') or 'no description'}"]
    content = message.get("content")
    texts = [content] if isinstance(content, str) else [_part_text(part) for part in content or ()]
    if message.get("role") == "tool":
        texts = [f"output of {message['tool_call_id']}: {text}" for text in texts]
    calls = message.get("tool_calls", ())
    return texts + [f"call {call['id']} {call['function']['name']}({call['function']['arguments']})" for call in calls]


def _part_text(part: Mapping[str, Any]) -> str:
    return str(part["text"]) if part["type"] == "text" else f"[{part['type']}: {part['image_url']['url'][:60]}]"


def _tokens(tokens: int | None) -> str:
    return "" if tokens is None else f", {tokens:,} tokens"


def _seconds(gap: float) -> str:
    return f"{gap * 1000:.0f} ms" if gap < 1 else f"{gap:.1f} s"
