"""Every reader of events handles each type of event, or lists those that it ignores.

A `match` over events ends in `assert_never`, or in an assignment such as `_ignored: _Ignored = event`. mypy refuses the
assignment if a type that no case handles is missing in the union. Readers that use tables are checked here.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from events.codec import AnyEvent
from events.thread import events as e
from events.webhook_endpoint import WEBHOOK_EVENTS
from service.telemetry import metrics

ROOT = Path(__file__).parent.parent
EVENT_CLASSES = {event.__name__ for event in get_args(AnyEvent)}
# Types of events of runs that webhook endpoints cannot subscribe to.
UNANNOUNCED = {"run.admitted", "run.claimed", "run.modified", "run.released", "run.reviewed"}


def class_names(match: ast.Match) -> Iterator[str]:
    """Yields the names of the classes in the patterns of a match."""
    for case in match.cases:
        for node in ast.walk(case.pattern):
            if isinstance(node, ast.MatchClass):
                yield ast.unparse(node.cls).rpartition(".")[2]


def readers() -> Iterator[tuple[str, ast.Match]]:
    """Yields each match over events, with its file and line."""
    for folder in ("events", "projections", "service"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Match) and EVENT_CLASSES & set(class_names(node)):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", node


READERS = dict(readers())


def is_exhaustive(match: ast.Match) -> bool:
    """Returns whether mypy checks that the match covers all events: without a wildcard, or with one of the two ends."""
    last = match.cases[-1]
    if not (isinstance(last.pattern, ast.MatchAs) and last.pattern.pattern is None and last.guard is None):
        return True
    first = last.body[0]
    if isinstance(first, ast.AnnAssign):
        return ast.unparse(first.target) in ("_ignored", "_others")
    return isinstance(first, ast.Expr) and ast.unparse(first).startswith("assert_never(")


@pytest.mark.parametrize("place", READERS)
def test_every_match_over_events_is_exhaustive(place: str) -> None:
    assert is_exhaustive(READERS[place])


def test_the_readers_are_found() -> None:
    assert len(READERS) > 20


def test_metrics_count_or_ignore_each_event_of_a_thread() -> None:
    counted = [*metrics._STATUS, *metrics._OUTCOMES, e.ModelCallStarted, *metrics._TOOL_CALLS]
    assert sorted([*counted, *metrics._IGNORED], key=str) == sorted(get_args(e.ThreadEvent), key=str)


def test_webhooks_announce_or_leave_out_each_event_of_a_run() -> None:
    types = {event.model_fields["type"].default for event in get_args(e.RunEvent)}
    assert types == WEBHOOK_EVENTS.keys() | UNANNOUNCED
