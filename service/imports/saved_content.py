"""The content and the attachments of saved messages."""

from __future__ import annotations

from typing import Any

from events.objects import Json
from service.imports.saved_values import object_of


def load_content(content: list[Json] | str) -> list[Json]:
    parts: list[Any] = [content] if isinstance(content, str) else list(content)
    return [_part(part) for part in parts]


def _part(part: Any) -> Json:
    """Returns a part of a message in the form of v2. Raises ValueError if it has no known form."""
    if isinstance(part, str):
        return _text_part(part, [])
    match part:
        case {"type": "text", "text": str(text)}:
            return _text_part(text, [])
        case {"type": "text", "text": {"value": str(text), **rest}}:
            annotations = rest.get("annotations")
            found = annotations if isinstance(annotations, list) else []
            return _text_part(text, [_annotation(one) for one in found])
        case {"type": "image_file", "image_file": {"file_id": str()} as image}:
            return {"type": "image_file", "image_file": image}
        case {"type": "image_url", "image_url": {"url": str()} as image}:
            return {"type": "image_url", "image_url": image}
        case {"type": "refusal", "refusal": str(refusal)}:
            return {"type": "refusal", "refusal": refusal}
        case _:
            kind = part.get("type") if isinstance(part, dict) else type(part).__name__
            raise ValueError(f"its content has a part of the type {kind!r} without a known form")


def _text_part(text: str, annotations: list[Json]) -> Json:
    return {"type": "text", "text": {"value": text, "annotations": annotations}}


def _annotation(annotation: Any) -> Json:
    match annotation:
        case {
            "type": "file_citation" | "file_path" as kind,
            "text": str(text),
            "start_index": int(start),
            "end_index": int(end),
        } if isinstance(object_of(annotation, kind).get("file_id"), str):
            return {"type": kind, "text": text, "start_index": start, "end_index": end, kind: annotation[kind]}
        case _:
            raise ValueError("its content has an annotation without a known form")


def load_attachments(attachments: list[Json] | None, file_ids: list[str] | None) -> list[Json]:
    if attachments:
        return [one for one in attachments if isinstance(one.get("file_id"), str)]
    tools = [{"type": "code_interpreter"}, {"type": "file_search"}]
    return [{"file_id": file_id, "tools": tools} for file_id in file_ids or ()]
