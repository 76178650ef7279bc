"""The markers that stand for citations in a model's text: 【n:m†name】.

n numbers the call of file_search in its thread, m the passage among the call's results, and name is the file's. File
search builds a marker for each passage that it gives the model; a run finds in the model's text those that were built
(`service.runs.annotations`). Nothing else in the project knows the form.
"""

from __future__ import annotations

OPENING = "【"
_CLOSING = "】"
_DAGGER = "†"
# The number of a thread's first call, as in the original API for a thread of one message. Each later call of the
# thread has its own number, because the model still sees the passages of earlier calls.
FIRST_CALL_NUMBER = 4
# Characters of a file's name in a marker.
MAX_NAME = 200
# Models that were trained with the original API write this word in place of the file's name.
_ANY_NAME = "source"


def citation_marker(call: int, passage: int, filename: str) -> str:
    """Returns the marker of a passage; `call` and `passage` are counted from 0."""
    return f"{OPENING}{FIRST_CALL_NUMBER + call}:{passage}{_DAGGER}{_safe_name(filename)}{_CLOSING}"


def is_citation_marker(text: str) -> bool:
    """Whether the text begins as a marker does."""
    return text.startswith(OPENING)


def without_name(marker: str) -> str:
    """Returns the marker in the form that gives no file's name, which models also write."""
    return f"{marker.split(_DAGGER, 1)[0]}{_DAGGER}{_ANY_NAME}{_CLOSING}"


def _safe_name(filename: str) -> str:
    """Returns the file's name with a _ for each character that a marker cannot hold, cut to MAX_NAME."""
    unfit = (OPENING, _CLOSING, _DAGGER)
    return "".join("_" if char in unfit or not char.isprintable() else char for char in filename)[:MAX_NAME]
