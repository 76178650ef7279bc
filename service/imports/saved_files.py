"""Reads the files in which people saved objects of the API: JSON, JSON Lines, and tables of messages as CSV.

A JSON document is one object, an array of them, a list as the API returned it, or a file of assistants-thread-export/v1
({"thread", "messages", "runs": [{…, "steps"}]}). The objects of a folder are those of all its files. What cannot be
read is reported with its place, and the rest is read all the same.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from events.objects import Json

MAX_DOCUMENT = 1024**3  # bytes of a JSON document, which is in memory as a whole
MAX_LINE = 64 * 1024**2  # bytes of a line of JSON Lines
ENDINGS = (".json", ".jsonl", ".ndjson", ".csv")
CSV_FIELDS = ("thread_id", "role", "content", "created_at")
_CSV_OPTIONAL = ("id", "assistant_id", "run_id")
_NESTED = ("thread", "messages", "runs", "steps", "assistants", "threads", "files", "vector_stores", "data")
# The names under which an object of a kind may hold others.
_NESTED_IN = {"thread": ("messages", "runs"), "run": ("steps",)}
_FORMAT = "assistants-thread-export"
_KINDS = {
    "thread": "thread",
    "thread.message": "message",
    "thread.run": "run",
    "thread.run.step": "step",
    "assistant": "assistant",
    "file": "file",
    "vector_store": "vector_store",
    "vector_store.file": "vector_store_file",
}
# The kind of the objects under a name of a document, if they do not say it themselves.
_KIND_UNDER = {
    "thread": "thread",
    "threads": "thread",
    "messages": "message",
    "runs": "run",
    "steps": "step",
    "assistants": "assistant",
    "files": "file",
    "vector_stores": "vector_store",
}


@dataclass(frozen=True, slots=True)
class FoundObject:
    """An object in a file. `place` says where, such as `threads/a.json: messages[3]`.

    `is_ordered` if it was in a list of the API, or in one of an export, whose order is that of the creation.
    """

    kind: str
    fields: Json
    place: str
    is_ordered: bool = False


@dataclass(frozen=True, slots=True)
class Unread:
    """Something that was not read. `reason` is a clause such as "it is not JSON"."""

    place: str
    reason: str


Found = FoundObject | Unread


def read_saved(path: Path) -> Iterator[Found]:
    """Yields the objects of a file, or of all files of a folder with one of ENDINGS, in the order of their names.

    Raises OSError if the path cannot be read.
    """
    if not path.is_dir():
        yield from _read_file(path, path.name)
        return
    for each in sorted(path.rglob("*")):
        if each.is_file() and each.suffix.lower() in ENDINGS:
            yield from _read_file(each, each.relative_to(path).as_posix())


def _read_file(path: Path, name: str) -> Iterator[Found]:
    match path.suffix.lower():
        case ".csv":
            yield from _read_table(path, name)
        case ".jsonl" | ".ndjson":
            yield from _read_lines(path, name)
        case _:
            yield from _read_document(path, name)


def _read_document(path: Path, name: str) -> Iterator[Found]:
    if path.stat().st_size > MAX_DOCUMENT:
        yield Unread(name, f"it has more than {MAX_DOCUMENT} bytes: divide it, or write it as JSON Lines")
        return
    try:
        document = orjson.loads(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        lines = list(_read_lines(path, name))  # JSON Lines under another name
        if lines and not any(isinstance(line, Unread) for line in lines):
            yield from lines
        else:
            yield Unread(name, f"it is not JSON: {error}")
        return
    yield from _objects_in(document, name, "", {})


def _read_lines(path: Path, name: str) -> Iterator[Found]:
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MAX_LINE):
            number += 1
            place = f"{name}: line {number}"
            if len(line) == MAX_LINE and not line.endswith(b"\n"):
                yield Unread(place, f"it has more than {MAX_LINE} bytes; the rest of the file was not read")
                return
            if not line.strip():
                continue
            try:
                fields = orjson.loads(line.removeprefix(b"\xef\xbb\xbf"))
            except orjson.JSONDecodeError as error:
                yield Unread(place, f"it is not JSON: {error}")
                continue
            yield from _objects_in(fields, place, "", {})


def _objects_in(value: Any, place: str, under: str, context: Json, is_page: bool = False) -> Iterator[Found]:
    """Yields the objects in a value. `under` is the name that it has in its document.

    `context` are fields that nested objects may leave out, such as the thread_id of messages. `is_page` if the value is
    the data of a list of the API.
    """
    if isinstance(value, list):
        numbered = list(enumerate(value))
        for index, each in reversed(numbered) if _is_newest_first(value, is_page) else numbered:
            yield from _objects_in(each, f"{place}[{index}]", under, context, is_page)
        return
    if not isinstance(value, dict):
        yield Unread(place, "it is no object of the API")
        return
    kind = _kind_of(value, under)
    if kind is not None:
        fields = {name: item for name, item in value.items() if name not in _NESTED_IN.get(kind, ())}
        yield FoundObject(kind, {**context, **fields}, place, is_ordered=is_page or under == "messages")
        for name in _NESTED_IN.get(kind, ()):
            if value.get(name) is not None:
                yield from _objects_in(value[name], f"{place}.{name}", name, _context_of(kind, {**context, **fields}))
        return
    nested = [name for name in _NESTED if _holds_objects(value.get(name))]
    if not nested and not _is_manifest(value):
        yield Unread(place, "it is no object of the API")
    thread = value.get("thread")
    inner = _context_of("thread", thread) if isinstance(thread, dict) else {}
    separator = ": " if ":" not in place else "."
    for name in nested:
        is_list = name == "data"
        found_context = {**context, **inner} if name in ("messages", "runs", "steps", "data") else {}
        yield from _objects_in(
            value[name], f"{place}{separator}{name}", under if is_list else name, found_context, is_page=is_list
        )


def _context_of(kind: str, fields: Json) -> Json:
    """Returns the fields that the objects nested in an object may leave out."""
    if kind == "thread":
        return {"thread_id": fields["id"]} if "id" in fields else {}
    return {
        **{name: fields[name] for name in ("thread_id", "assistant_id") if name in fields},
        **({"run_id": fields["id"]} if "id" in fields else {}),
    }


def _holds_objects(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and not all(isinstance(one, str) for one in value))


def _is_newest_first(items: list[Any], is_page: bool) -> bool:
    """Returns whether the newest item is the first, as in a list of the API unless it was asked for otherwise."""
    times = [item["created_at"] for item in items if isinstance(item, dict) and isinstance(item.get("created_at"), int)]
    return len(times) > 1 and (times[0] > times[-1] or (times[0] == times[-1] and is_page))


def _kind_of(fields: Json, under: str) -> str | None:
    """Returns the kind of an object: what its `object` says, or what the name says that it has in its document."""
    named = fields.get("object")
    if isinstance(named, str) and named in _KINDS:
        return _KINDS[named]
    return _KIND_UNDER.get(under) if "id" in fields and named is None else None


def _is_manifest(fields: Json) -> bool:
    return any(isinstance(value, str) and value.startswith(_FORMAT) for value in fields.values())


def _read_table(path: Path, name: str) -> Iterator[Found]:
    """Yields the messages of a table. Its header has CSV_FIELDS, and may have id, assistant_id and run_id."""
    csv.field_size_limit(MAX_LINE)
    with path.open(encoding="utf-8-sig", newline="", errors="replace") as file:
        rows = csv.DictReader(file)
        missing = [field for field in CSV_FIELDS if field not in (rows.fieldnames or ())]
        if missing:
            yield Unread(name, f"its header has no {', '.join(missing)}")
            return
        try:
            for number, row in enumerate(rows, start=1):
                yield FoundObject("message", _message_of(row, number), f"{name}: row {number}")
        except csv.Error as error:
            yield Unread(name, f"it is no table: {error}")


def _message_of(row: dict[str, str], number: int) -> Json:
    """Returns the message of a row. If the row has no id, the message gets one that a second import gives it too."""
    fields: Json = {name: row[name] for name in (*CSV_FIELDS, *_CSV_OPTIONAL) if row.get(name)}
    fields.setdefault("content", "")
    seed = "\0".join((row["thread_id"] or "", str(number), row["role"] or "", row["content"] or ""))
    fields.setdefault("id", "msg_" + hashlib.sha256(seed.encode()).hexdigest()[:24])
    return fields
