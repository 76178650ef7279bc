"""Renders the transcript of a thread, as JSON and as Markdown. The original has none; it is the same in v1 and v2.

A transcript is written in parts, so that a long thread is never held whole. In Markdown every text of a client, a model
or a tool stands in a fence that is longer than any in the text: whatever the text holds, a viewer shows it as text, and
loads nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, cast

import orjson

from events.objects import Json, Message, Thread
from service.wire.validation_errors import invalid_value

TranscriptFormat = Literal["json", "markdown"]
FORMATS: Mapping[TranscriptFormat, tuple[str, str]] = {
    "json": ("application/json", "json"),
    "markdown": ("text/markdown", "md"),
}
_FENCE = re.compile(r"`{3,}")
_TICKS = re.compile(r"`+")
# Characters that would end a line or hide a part of a name.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def parse_transcript_format(query: Mapping[str, str]) -> TranscriptFormat:
    """Raises Rejection if `format` is neither `json` nor `markdown`."""
    given = query.get("format") or "json"
    if given not in FORMATS:
        raise invalid_value("format", given, tuple(FORMATS))
    return cast(TranscriptFormat, given)


class JsonTranscript:
    """Renders the parts of `{"object": "thread.transcript", "thread": …, "messages": […]}`."""

    def __init__(self) -> None:
        self._is_first = True

    def begin(self, thread: Thread, rendered: Json) -> bytes:
        """Returns the beginning, with the thread as the version of the request renders it."""
        return b'{"object":"thread.transcript","thread":%b,"messages":[' % orjson.dumps(rendered)

    def add(self, message: Message, rendered: Json, names: Mapping[str, str]) -> bytes:
        """Returns a message. `names` are the names of the files that exist, by id."""
        comma = b"" if self._is_first else b","
        self._is_first = False
        named = {id: names[id] for id in named_files(message) if id in names}
        return comma + orjson.dumps({**rendered, "file_names": named})

    def end(self) -> bytes:
        return b"]}"


class MarkdownTranscript:
    """Renders a heading for the thread and one for each message, with texts in fences and names in code spans."""

    def begin(self, thread: Thread, rendered: Json) -> bytes:
        """Returns the heading."""
        lines = [f"# Thread {thread.id}", "", f"Created {_time(thread.created_at)}"]
        lines += [f"- {_code(key)}: {_code(value)}" for key, value in thread.metadata.items()]
        return ("\n".join(lines) + "\n").encode()

    def add(self, message: Message, rendered: Json, names: Mapping[str, str]) -> bytes:
        """Returns a message. `names` are the names of the files that exist, by id."""
        lines = [f"\n## {message.role.capitalize()}, {_time(message.created_at)}", "", f"Message {message.id}"]
        if message.run_id is not None:
            lines[-1] += f", run {message.run_id}"
        for part in message.content:
            lines += ["", *_part_lines(part, names)]
        for attachment in message.attachments:
            lines += ["", f"Attached: {_file(attachment.get('file_id'), names)}"]
        return ("\n".join(lines) + "\n").encode(errors="replace")

    def end(self) -> bytes:
        return b""


Transcript = JsonTranscript | MarkdownTranscript


def new_transcript(form: TranscriptFormat) -> Transcript:
    return JsonTranscript() if form == "json" else MarkdownTranscript()


def sample_transcript(thread: Thread, rendered_thread: Json, messages: Sequence[tuple[Message, Json]]) -> Json:
    """Returns a whole transcript, for the document of the API."""
    transcript = JsonTranscript()
    names = {"file-1": "a.txt"}
    parts = [transcript.begin(thread, rendered_thread)]
    parts += [transcript.add(message, rendered, names) for message, rendered in messages]
    found: Json = orjson.loads(b"".join([*parts, transcript.end()]))
    return found


def named_files(message: Message) -> list[str]:
    """Returns the ids of the files that a message names in its attachments, pictures and annotations, each once."""
    ids = [attachment.get("file_id") for attachment in message.attachments]
    for part in message.content:
        ids.append(part.get("image_file", {}).get("file_id"))
        for mark in part.get("text", {}).get("annotations", []):
            ids += [mark.get(kind, {}).get("file_id") for kind in ("file_citation", "file_path")]
    return [id for id in dict.fromkeys(ids) if id is not None]


def _part_lines(part: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[str]:
    match part.get("type"):
        case "text":
            text = part["text"]
            yield _fence_text(text["value"])
            for mark in text.get("annotations", []):
                kind = mark["type"]
                named = mark.get(kind, {}).get("file_id")
                yield f"\n{'Cites' if kind == 'file_citation' else 'File'} {_code(mark['text'])}: {_file(named, names)}"
        case "refusal":
            yield "Refusal:\n"
            yield _fence_text(part["refusal"])
        case "image_file":
            yield f"Image: {_file(part['image_file'].get('file_id'), names)}"
        case "image_url":
            yield f"Image at {_code(part['image_url']['url'])}"
        case other:
            yield f"Part of the type {_code(str(other))}"


def _fence_text(text: str) -> str:
    longest = max((len(found) for found in _FENCE.findall(text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def _file(file_id: str | None, names: Mapping[str, str]) -> str:
    if file_id is None:
        return "a file that was deleted"
    return f"{_code(names[file_id])} ({file_id})" if file_id in names else f"{_code(file_id)}, which was deleted"


def _code(text: str) -> str:
    """Returns the text as a code span on one line (CommonMark, "Code spans")."""
    text = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)
    longest = max((len(found) for found in _TICKS.findall(text)), default=0)
    ticks = "`" * (longest + 1)
    return f"{ticks} {text} {ticks}" if longest or not text.strip() else f"{ticks}{text}{ticks}"


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
