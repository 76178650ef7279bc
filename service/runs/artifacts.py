"""Collects the artifacts of hosted tools that the next message of a run shows. A function of the thread's history.

The log holds the artifacts in the steps, so a resumed run collects the same. Citations and paths of earlier runs in the
thread count too, because the model still sees the outputs of their calls. Images and attachments belong to the next
message of their own run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from events.objects import Json, Message, Step
from service.runs.annotations import CitedPassage, KnownMarks
from service.runs.prompt import Entry

# Maximum numbers of images and attachments of one message. The oldest are left out; the steps show them.
MAX_IMAGES = 50
MAX_ATTACHMENTS = 500


@dataclass(frozen=True, slots=True)
class RunArtifacts:
    """The marks that the run's text may hold, and for its next message the file ids of images, and the attachments."""

    marks: KnownMarks = field(default_factory=KnownMarks)
    images: Sequence[str] = ()
    attachments: Sequence[Json] = ()


def collect_artifacts(entries: Iterable[Entry], run_id: str) -> RunArtifacts:
    """Returns the artifacts in the history that no message of the run has shown yet, and the marks of all its calls."""
    citations: dict[str, CitedPassage] = {}
    paths: dict[str, str] = {}
    images: dict[str, None] = {}
    files: dict[str, str] = {}
    for _, entry in sorted(entries, key=lambda pair: pair[0]):
        if isinstance(entry, Message):
            if entry.run_id == run_id and entry.incomplete_reason != "run_failed":
                images, files = {}, {}
            continue
        for result in _results(entry):
            citations |= {one["marker"]: CitedPassage(one["file_id"], one["quote"]) for one in result["citations"]}
            paths |= {one["path"]: one["file_id"] for one in result["files"]}
            if entry.run_id == run_id:
                images |= dict.fromkeys(image_ids(result["shown"]))
                files |= {one["path"]: one["file_id"] for one in result["files"]}
    attachments = [
        {"file_id": file_id, "tools": [{"type": "code_interpreter"}]} for file_id in dict.fromkeys(files.values())
    ]
    return RunArtifacts(KnownMarks(citations, paths), list(images)[-MAX_IMAGES:], attachments[-MAX_ATTACHMENTS:])


def image_ids(shown: Json) -> list[str]:
    """Returns the file ids of the images in a step's fields of a call."""
    return [one["image"]["file_id"] for one in shown.get("outputs", ()) if one["type"] == "image"]


def _results(step: Step) -> Iterable[Json]:
    """Returns the results of a step's hosted calls, except those of calls that were stopped."""
    known = (step.results.get(call["id"]) for call in step.tool_calls)
    return (result for result in known if result is not None and "output" in result)
