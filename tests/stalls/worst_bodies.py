"""The bodies that cost the server most: for each operation the worst that it accepts, and the worst that it refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from service.http.route import SMALL_BODY, FormBody, PassedBody, Route
from service.http.routes import ROUTES
from service.wire.fields import (
    MAX_CONTENT,
    MAX_HELPER_FILES,
    MAX_INSTRUCTIONS,
    MAX_MESSAGES,
    MAX_METADATA_KEY,
    MAX_METADATA_PAIRS,
    MAX_METADATA_VALUE,
    MAX_PARTS,
    MAX_SCHEMA_BYTES,
)
from service.wire.reviews import MAX_NOTE

# The name of a model with a window that holds what the limits allow, so that prompts are long.
MODEL = "large-window"
_MODELS_FILE = f'[[models]]\nmatch = ["{MODEL}"]\ncontext_window = 1000000\nencoding = "o200k_base"\nmargin = 1\n'
# An emoji is written as two escapes of six bytes.
EMOJI = "😀"


@dataclass(frozen=True, slots=True)
class WorstBody:
    """A body for the operation `route`. `kind` names it in reports."""

    route: Route
    kind: str
    content: bytes


def write_models_file(folder: str) -> str:
    """Writes a file for EVERTHREAD_MODELS with MODEL. Returns its path."""
    path = Path(folder, "models.toml")
    path.write_text(_MODELS_FILE)
    return str(path)


def metadata() -> dict[str, str]:
    return {f"{n:02}".ljust(MAX_METADATA_KEY, "k"): EMOJI * MAX_METADATA_VALUE for n in range(MAX_METADATA_PAIRS)}


def function(name: str) -> dict[str, Any]:
    properties: dict[str, Any] = {f"p{n}": {} for n in range(MAX_SCHEMA_BYTES // 12)}
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": properties}}}


def messages() -> list[dict[str, Any]]:
    short = {f"{n:02}": "v" for n in range(MAX_METADATA_PAIRS)}
    text = "x" * 10_000 + EMOJI  # a text that takes four bytes of memory for each character
    return [{"role": "user", "content": text, "metadata": short} for _ in range(MAX_MESSAGES)]


def messages_of_parts() -> list[dict[str, Any]]:
    parts = [{"type": "text", "text": EMOJI} for _ in range(30)]
    return [{"role": "user", "content": parts} for _ in range(MAX_MESSAGES)]


def parts() -> list[dict[str, Any]]:
    texts = [{"type": "text", "text": EMOJI * (MAX_CONTENT // MAX_PARTS)} for _ in range(MAX_PARTS - 1)]
    return [*texts, {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 8_000_000}}]


def run() -> dict[str, Any]:
    return {
        "assistant_id": "asst_none",
        "instructions": EMOJI * MAX_INSTRUCTIONS,
        "tools": [function("f"), function("g")],
        "additional_messages": messages()[: MAX_MESSAGES // 2],
        "metadata": metadata(),
    }


def files() -> list[str]:
    return [f"file-{n:022}" for n in range(MAX_HELPER_FILES)]


def comparison(values: int) -> dict[str, Any]:
    return {"type": "in", "key": "k" * 64, "value": ["v" * 500] * values}


# The worst bodies that the operations accept, or that they refuse only after looking ids up.
LEGAL: Mapping[str, Callable[[], Any]] = {
    "POST /v1/assistants": lambda: {
        "model": MODEL,
        "instructions": EMOJI * MAX_INSTRUCTIONS,
        "tools": [function("f"), function("g"), function("h")],
        "metadata": metadata(),
    },
    "POST /v1/assistants/{assistant_id}": lambda: {
        "instructions": EMOJI * MAX_INSTRUCTIONS,
        "tools": [function("f"), function("g"), function("h")],
        "metadata": metadata(),
    },
    "POST /v1/threads": lambda: {"messages": messages(), "metadata": metadata()},
    "POST /v1/threads/{thread_id}": lambda: {
        "metadata": metadata(),
        "tool_resources": {"file_search": {"vector_stores": [{"file_ids": files()}]}},
    },
    "POST /v1/threads/{thread_id}/messages": lambda: {"role": "user", "content": parts(), "metadata": metadata()},
    "POST /v1/threads/{thread_id}/messages/{message_id}": lambda: {"metadata": metadata()},
    "POST /v1/threads/{thread_id}/runs": run,
    "POST /v1/threads/{thread_id}/runs/{run_id}": lambda: {"metadata": metadata()},
    "POST /v1/threads/{thread_id}/runs/{run_id}/submit_tool_outputs": lambda: {
        "tool_outputs": [{"tool_call_id": "call_none", "output": EMOJI * 1_200_000}]
    },
    "POST /v1/threads/runs": lambda: {
        "assistant_id": "asst_none",
        "instructions": EMOJI * MAX_INSTRUCTIONS,
        "thread": {"messages": messages_of_parts()},
    },
    "POST /v1/vector_stores": lambda: {"file_ids": files()[:500], "metadata": metadata()},
    "POST /v1/vector_stores/{vector_store_id}": lambda: {"metadata": metadata()},
    "POST /v1/vector_stores/{vector_store_id}/search": lambda: {
        "query": ["q" * 4_000] * 8,
        "filters": {"type": "and", "filters": [comparison(3) for _ in range(250)]},
    },
    "POST /v1/vector_stores/{vector_store_id}/files": lambda: {"file_id": "file-none", "attributes": metadata()},
    "POST /v1/vector_stores/{vector_store_id}/files/{file_id}": lambda: {"attributes": metadata()},
    "POST /v1/vector_stores/{vector_store_id}/file_batches": lambda: {
        "files": [{"file_id": id, "attributes": {f"{n}": "v" * 300 for n in range(16)}} for id in files()[:2000]]
    },
    "POST /v1/uploads/{upload_id}/complete": lambda: {"part_ids": files()},
    "POST /v1/assistants/{assistant_id}/restore": lambda: {"version": 1},
    "POST /v1/threads/bulk_delete": lambda: {"all": True, "dry_run": True},
    "POST /v1/threads/bulk_cancel": lambda: {"all": True, "dry_run": True},
    "POST /v1/threads/{thread_id}/fork": lambda: {"metadata": metadata()},
    "POST /v1/threads/{thread_id}/stream_tokens": lambda: {"expires_in": 600},
    "POST /v1/threads/{thread_id}/runs/{run_id}/reviews": lambda: {"rating": "good", "note": EMOJI * MAX_NOTE},
}


def worst_bodies(routes: Iterable[Route] = ROUTES) -> Iterator[WorstBody]:
    """Yields bodies for every operation with a body, made one after another because they are large."""
    for route in routes:
        if route.method != "POST" or isinstance(route.body, FormBody):
            continue
        is_passed = isinstance(route.body, PassedBody)
        size, tokens = route.limit.bytes, route.limit.tokens - 10
        yield WorstBody(route, "as many keys as allowed", _keys(tokens // 2, size))
        if (make := LEGAL.get(route.name)) is not None:
            yield WorstBody(route, "legal", orjson.dumps(make()))
        if route.limit is SMALL_BODY:
            continue
        yield WorstBody(route, "containers", b"[" + b"[]," * ((size - 10) // 3) + b"1]")
        yield WorstBody(route, "one text of escapes", b'{"name":"' + b"\\ud83d\\ude00" * ((size - 20) // 12) + b'"}')
        yield WorstBody(route, "a long number", b'{"name":' + b"7" * (size - 20) + b"}")
        yield WorstBody(route, "quotation marks", b"[" + b'"",' * (tokens - 10) + b'""]')
        if is_passed:
            image = b"A" * (size - 200)
            yield WorstBody(route, "an image", b'{"messages":[{"content":"%b"}],"model":"gpt-4o"}' % image)
        else:
            yield from _worst_to_parse(route)


def _worst_to_parse(route: Route) -> Iterator[WorstBody]:
    """Yields bodies that a parser needs much time or memory for."""
    size, tokens = route.limit.bytes, route.limit.tokens - 10
    keys = _keys(tokens // 2 - 9, size - 99)[:-1] + b',"z":%b}' % (b"9" * 40)
    yield WorstBody(route, "keys after a long integer", keys)
    text = b'"%b",' % ("x" * (size // tokens) + EMOJI).encode()
    yield WorstBody(route, "texts of emoji", b'{"name":[' + text * (size // len(text) - 10) + b"1]}")
    yield WorstBody(route, "one text with an emoji", b'{"name":"%b"}' % ("x" * (size - 99) + EMOJI).encode())
    yield WorstBody(route, "long numbers", b'{"name":[' + b"0.%b," % (b"9" * 99) * (size // 103 - 10) + b"1]}")


def _keys(count: int, size: int) -> bytes:
    keys = b",".join(b'"k%d":0' % n for n in range(min(count, size // 12)))
    return b"{" + keys + b"}"
