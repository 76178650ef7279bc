"""What a run's hosted tools have brought so far, for the next message: a pure function of the thread's history.

The log holds it with the steps, so that a resumed run gathers the same. Citations and paths of the thread's earlier
runs count too, since the model still sees their outputs; images and attachments go to the next message of their run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from events.objects import Message, Step
from service.runs.annotations import Cited, Marks
from service.runs.prompt import Entry

# Images and attachments of one message; the oldest are left out, and can be found in the steps.
MAX_IMAGES = 50
MAX_ATTACHMENTS = 500


@dataclass(frozen=True, slots=True)
class Gathered:
    """`images` are file ids, `attachments` as messages keep them."""

    marks: Marks = field(default_factory=Marks)
    images: Sequence[str] = ()
    attachments: Sequence[dict[str, Any]] = ()


def gathered(entries: Iterable[Entry], run_id: str) -> Gathered:
    """What waits for the next message of this run, and what may stand in its text."""
    citations: dict[str, Cited] = {}
    paths: dict[str, str] = {}
    images: dict[str, None] = {}
    files: dict[str, str] = {}
    for _, entry in sorted(entries, key=lambda pair: pair[0]):
        if isinstance(entry, Message):
            if entry.run_id == run_id and entry.incomplete_reason != "run_failed":
                images, files = {}, {}
            continue
        for result in _results(entry):
            citations |= {one["marker"]: Cited(one["file_id"], one["quote"]) for one in result["citations"]}
            paths |= {one["path"]: one["file_id"] for one in result["files"]}
            if entry.run_id == run_id:
                images |= dict.fromkeys(images_in(result["shown"]))
                files |= {one["path"]: one["file_id"] for one in result["files"]}
    attachments = [
        {"file_id": file_id, "tools": [{"type": "code_interpreter"}]} for file_id in dict.fromkeys(files.values())
    ]
    return Gathered(Marks(citations, paths), list(images)[-MAX_IMAGES:], attachments[-MAX_ATTACHMENTS:])


def images_in(shown: dict[str, Any]) -> list[str]:
    """File ids of the images among a call's outputs."""
    return [one["image"]["file_id"] for one in shown.get("outputs", ()) if one["type"] == "image"]


def _results(step: Step) -> Iterable[dict[str, Any]]:
    """The results of a step's hosted calls, but of those that were stopped."""
    known = (step.results.get(call["id"]) for call in step.tool_calls)
    return (result for result in known if result is not None and "output" in result)
