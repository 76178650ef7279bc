"""Writes the documents that follow from the code: docs/events.md and docs/log-events.md.

    .venv/bin/python scripts/generate_docs.py

tests/test_docs.py fails if a document differs from what this script would write.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from events import codec  # noqa: E402  (the checkout of this script comes first on the path)
from events.envelope import SCHEMA_VERSION, Event  # noqa: E402

PACKAGES = ("events", "projections", "service")
LEVELS = ("critical", "error", "warning", "info", "debug")
NOT_FIELDS = frozenset({"exc_info"})

EVENTS_INTRODUCTION = f"""\
# Events

Every type of event, by the stream that it belongs to. `scripts/generate_docs.py` writes this page from the registry in
`events/codec.py`; do not edit it.

An event is stored as compact JSON in the column `content` of the table `events`. The other columns of its row are the
same for all types:

| column | contents |
|---|---|
| `stream_id`, `version` | The stream, and the event's number in it: 1, 2, 3, … without gaps |
| `type` | The type, as below |
| `at` | The time of the append. It never goes back within a stream |
| `project_id` | The project that the stream belongs to |
| `actor` | The API key, process, tool or command line that caused the event, as `events/actors.py` writes it |
| `request_id` | The id of the request that caused the event, or null |
| `cause` | The id of the object that caused the event, such as the run of an executor, or null |
| `schema_version` | The schema of `content`; today's is {SCHEMA_VERSION} |
| `software_version` | The version of Everthread that wrote the event |

Fields of the type `object` hold JSON in the shapes of the API. A field that is marked "omitted" is absent from the
stored JSON if it has that value.
"""

LOG_INTRODUCTION = """\
# Log events

Every event that the server logs. `scripts/generate_docs.py` writes this page from the calls in the code; do not edit
it.

The server writes JSON to standard error, one object a line; if standard error is a terminal, it writes readable lines
instead. `event` holds the name below, `level` the level, and `timestamp` the time in UTC. `request_id`, `thread_id`,
`run_id`, `store_id` and `file_id` are present if the line belongs to one. Lines that libraries log have their text as
`event`, and the library's name as `logger`. `EVERTHREAD_LOG_LEVEL` sets the lowest level that is written. No line holds
content of messages or an API key.
"""


@dataclass
class LogEvent:
    """All calls that log one event: their levels, keyword arguments and modules."""

    levels: set[str] = field(default_factory=set)
    fields: set[str] = field(default_factory=set)
    modules: set[str] = field(default_factory=set)


def events_page() -> str:
    """Returns the text of docs/events.md."""
    by_stream: defaultdict[str, list[type[Event]]] = defaultdict(list)
    for event in get_args(codec.AnyEvent):
        by_stream[_stream_name(event)].append(event)
    shapes = _nested_models(event for group in by_stream.values() for event in group)
    parts = [EVENTS_INTRODUCTION]
    for name in sorted(by_stream):
        parts.append(f"## {name}\n")
        parts.extend(_event_section(event) for event in by_stream[name])
    parts.append("## Shapes\n\nObjects that several events hold.\n")
    parts.extend(_section(shape.__name__, shape) for shape in sorted(shapes, key=lambda shape: shape.__name__))
    return "\n".join(parts)


def log_page() -> str:
    """Returns the text of docs/log-events.md."""
    rows = ["| event | level | fields | logged by |", "|---|---|---|---|"]
    for name, event in sorted(log_events().items()):
        levels = ", ".join(level for level in LEVELS if level in event.levels)
        fields = ", ".join(f"`{name}`" for name in sorted(event.fields))
        modules = ", ".join(f"`{module}`" for module in sorted(event.modules))
        rows.append(f"| `{name}` | {levels} | {fields} | {modules} |")
    return LOG_INTRODUCTION + "\n" + "\n".join(rows) + "\n"


def log_events() -> Mapping[str, LogEvent]:
    """Returns every event that the code logs. Raises ValueError for a call whose event is not a string literal."""
    found: defaultdict[str, LogEvent] = defaultdict(LogEvent)
    for path in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text())):
            if not _is_log_call(call):
                continue
            assert isinstance(call, ast.Call)
            assert isinstance(call.func, ast.Attribute)
            name = call.args[0] if call.args else None
            if not isinstance(name, ast.Constant) or not isinstance(name.value, str):
                raise ValueError(f"{path}:{call.lineno}: the name of a log event must be a string literal")
            event = found[name.value]
            event.levels.add("error" if call.func.attr == "exception" else call.func.attr)
            event.fields |= {one.arg for one in call.keywords if one.arg} - NOT_FIELDS
            event.modules.add(str(path.relative_to(ROOT)))
    return found


PAGES: Mapping[str, Callable[[], str]] = {"docs/events.md": events_page, "docs/log-events.md": log_page}


def _is_log_call(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in (*LEVELS, "exception")
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in ("log", "logger")
    )


def _stream_name(event: type[Event]) -> str:
    """The stream of an event, from its module: events.thread.tool_events is of the thread."""
    return event.__module__.split(".")[1].replace("_", " ").capitalize().replace("Api", "API")


def _nested_models(events: Iterator[type[Event]]) -> set[type[BaseModel]]:
    found: set[type[BaseModel]] = set()
    waiting: list[type[BaseModel]] = list(events)
    while waiting:
        model = waiting.pop()
        inner = {one for info in model.model_fields.values() for one in _models_in(info.annotation)} - found
        found |= inner
        waiting += inner
    return found


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)


def _event_section(event: type[Event]) -> str:
    return _section(f"`{event.model_fields['type'].default}`", event)


def _section(title: str, model: type[BaseModel]) -> str:
    lines = [f"### {title}", ""]
    if model.__dict__.get("__doc__"):
        lines += [" ".join(inspect.cleandoc(model.__doc__ or "").split()), ""]
    fields = [(name, info) for name, info in model.model_fields.items() if name != "type"]
    if fields:
        lines += ["| field | type |", "|---|---|"]
        lines += [f"| `{name}` | {_field_type(info)} |" for name, info in fields]
    else:
        lines.append("No fields.")
    return "\n".join(lines) + "\n"


def _field_type(info: FieldInfo) -> str:
    text = _type_name(info.annotation)
    if info.exclude_if is not None:
        return f"{text}; omitted if {_value(info.default)}"
    return text if info.default is PydanticUndefined else f"{text}; default {_value(info.default)}"


def _value(value: Any) -> str:
    return "null" if value is None else "empty" if value in ([], {}, "") else f"`{value}`"


def _type_name(annotation: Any) -> str:
    names = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null", Any: "any"}
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in names:
        return names[annotation]
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (Union, UnionType):
        return " or ".join(_type_name(one) for one in arguments)
    if origin is list or origin is tuple:
        return f"array of {_type_name(arguments[0])}"
    if origin is dict:
        return "object" if arguments[1] is Any else f"object of {_type_name(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    raise TypeError(f"no name for the type {annotation}")


def main() -> None:
    for name, page in PAGES.items():
        (ROOT / name).write_text(page())


if __name__ == "__main__":
    main()
