"""The pages of `everthread replay --step`: the events of a run, one after another, and what is known at each. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import orjson
from rich.text import Text

from service.cli.run_lines import entry_lines, prompt_lines
from service.cli.show import printable

if TYPE_CHECKING:
    from service.prices import Cost
    from service.replay.prompt_view import PromptView
    from service.replay.run_timeline import TimelineEntry
    from service.replay.view_changes import ObjectChange

Page = Literal["event", "state", "views", "help"]
# Characters of a value, and of a part of a prompt, on a page.
MAX_TEXT = 20_000
# Lines of a screen below which only the page is shown, without the list of events.
SMALL_SCREEN = 16
FOOTER = "→ ← step   f F failure   e event   s state   d views   ? help   q quit"
HELP = """→ n space   the next event
← p         the event before
f           the next failure
F           the failure before
g G         the first, the last event
e           the event and its prompt
s           the state after it
d           its changes of views
↑ ↓ k j     scroll
PgUp PgDn   scroll a page
q Ctrl-C    quit"""


@dataclass(frozen=True, slots=True)
class StepFacts:
    """An event of the run with what is shown about it."""

    entry: TimelineEntry
    prompt: PromptView | None
    cost: Cost | None
    changes: Sequence[ObjectChange]


class RunSteps:
    """The place in the run, and the page that is open. Call `press` with names of keys."""

    def __init__(self, run_id: str, facts: Sequence[StepFacts]) -> None:
        self.position = 0
        self.page: Page = "event"
        self._run_id = run_id
        self._facts = facts
        self._scroll = 0
        self._note = ""

    def press(self, key: str, height: int) -> bool:
        """Handles a key. `height` are the lines of the screen. Returns whether the user wants to quit."""
        self._note = ""
        last = len(self._facts) - 1
        match key:
            case "q" | "ctrl-c" | "ctrl-d":
                return True
            case "right" | "n" | " " | "enter":
                self._move(min(last, self.position + 1))
            case "left" | "p":
                self._move(max(0, self.position - 1))
            case "g" | "home":
                self._move(0)
            case "G" | "end":
                self._move(last)
            case "f":
                self._to_failure(range(self.position + 1, last + 1))
            case "F":
                self._to_failure(range(self.position - 1, -1, -1))
            case "down" | "j":
                self._scroll += 1
            case "up" | "k":
                self._scroll = max(0, self._scroll - 1)
            case "page-down":
                self._scroll += max(1, height // 2)
            case "page-up":
                self._scroll = max(0, self._scroll - max(1, height // 2))
            case "e" | "s" | "d" | "?" | "h":
                self._open({"e": "event", "s": "state", "d": "views", "?": "help", "h": "help"}[key])  # type: ignore[arg-type]
            case _:
                pass
        return False

    def screen(self, width: int, height: int) -> list[Text]:
        """Returns exactly `height` lines for a terminal of `width` columns, each of which fits into one row."""
        fact = self._facts[self.position]
        run = fact.entry.state
        status = "ended" if run is None else run.status
        head = f"{self._run_id}  event {self.position + 1} of {len(self._facts)}  {status}  [{self.page}]"
        note = Text(self._note, "bold yellow") if self._note else Text(FOOTER, "dim")
        listed = self._list(min(len(self._facts), height // 3)) if height >= SMALL_SCREEN else []
        rule = [Text("─" * width, "dim")] if listed else []
        room = max(0, height - 2 - len(listed) - len(rule))
        lines = _wrap(self._page_lines(fact), width)
        self._scroll = max(0, min(self._scroll, len(lines) - room))
        body = lines[self._scroll : self._scroll + room]
        body += [Text("")] * (room - len(body))
        whole = [Text(head, "reverse"), *listed, *rule, *body, note]
        for line in whole:
            line.truncate(width, overflow="ellipsis", pad=False)
        return whole[:height]

    def _move(self, position: int) -> None:
        self.position, self._scroll = position, 0

    def _open(self, page: Page) -> None:
        self.page, self._scroll = page, 0

    def _to_failure(self, places: range) -> None:
        found = next((place for place in places if self._facts[place].entry.is_failure), None)
        if found is None:
            self._note = "There is no further failure in this direction."
        else:
            self._move(found)

    def _list(self, count: int) -> list[Text]:
        """Returns lines of `count` events around the current one."""
        first = max(0, min(self.position - count // 2, len(self._facts) - count))
        lines = []
        for place in range(first, first + count):
            entry = self._facts[place].entry
            mark = "▶" if place == self.position else " "
            failure = "!" if entry.is_failure else " "
            text = f"{mark}{failure}{entry.recorded.version:>5}  {entry.recorded.event.type:<22} {entry.summary}"
            style = "bold red" if entry.is_failure else "bold" if place == self.position else ""
            lines.append(Text(printable(text.replace("\n", " "), 1_000), style))
        return lines

    def _page_lines(self, fact: StepFacts) -> list[Text]:
        match self.page:
            case "event":
                return _event_lines(fact, is_first=self.position == 0)
            case "state":
                return _state_lines(fact)
            case "views":
                return _change_lines(fact.changes)
            case "help":
                return [Text(line) for line in HELP.split("\n")]


def _event_lines(fact: StepFacts, *, is_first: bool) -> list[Text]:
    from events import codec

    lines = entry_lines(fact.entry, is_first=is_first, cost=fact.cost)
    if fact.prompt is not None:
        lines += prompt_lines(fact.prompt, most=MAX_TEXT)
    lines.append(Text(""))
    content = orjson.loads(codec.dump(fact.entry.recorded.event))
    return lines + _value_lines(content)


def _state_lines(fact: StepFacts) -> list[Text]:
    if fact.entry.state is None:
        return [Text("The run has ended: its thread has no active run.")]
    state = asdict(fact.entry.state)
    state["usage"] = fact.entry.state.usage.model_dump()
    return _value_lines(state)


def _change_lines(changes: Sequence[ObjectChange]) -> list[Text]:
    if not changes:
        return [Text("The event changed nothing that clients see of the run, its steps and its messages.")]
    lines: list[Text] = []
    styles = {"+": "green", "-": "red", "@": "cyan"}
    for change in changes:
        verb = "created" if not change.before else "deleted" if not change.after else "changed"
        lines.append(Text(f"{change.id} {verb}", "bold"))
        lines += [Text(printable(line, MAX_TEXT), styles.get(line[:1], "")) for line in change.diff()]
    return lines


def _value_lines(value: Mapping[str, object]) -> list[Text]:
    """Returns the fields of a value, one a line or on several lines of JSON."""
    lines: list[Text] = []
    for name, field in value.items():
        text = (
            field if isinstance(field, str) else orjson.dumps(field, option=orjson.OPT_INDENT_2, default=str).decode()
        )
        first, *others = printable(text, MAX_TEXT).split("\n")
        lines.append(Text.assemble((f"{name}: ", "cyan"), first))
        lines += [Text(f"  {line}") for line in others]
    return lines


def _wrap(lines: Sequence[Text], width: int) -> list[Text]:
    """Returns the lines cut into pieces of at most `width` columns."""
    pieces: list[Text] = []
    for line in lines:
        rest = line
        while rest.cell_len > width:
            end = width
            while end > 1 and rest[:end].cell_len > width:
                end -= 1
            pieces.append(rest[:end])
            rest = rest[end:]
        pieces.append(rest)
    return pieces
