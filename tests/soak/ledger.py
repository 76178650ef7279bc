"""The ledger of a soak: everything that the server acknowledged to a client, and the faults that clients saw."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class PostRecord:
    """A message of a user. `id` is None if no answer came, and the message may exist or not."""

    marker: str
    text: str
    id: str | None = None


@dataclass(slots=True)
class RunRecord:
    """A run. `key` is the marker of the message that it answers, `outputs` the acknowledged outputs of functions.

    `statuses` are the terminal statuses that the client saw, and `streamed` the whole texts of its streams by message.
    `was_left` if the client followed the run no longer before it saw an end, and `waited_for_client` if the
    run expired meanwhile because nobody sent the outputs of its functions.
    """

    key: str
    order: str
    id: str | None = None
    statuses: set[str] = field(default_factory=set)
    outputs: dict[str, str] = field(default_factory=dict)
    streamed: dict[str, str] = field(default_factory=dict)
    was_cancelled: bool = False
    was_left: bool = False
    waited_for_client: bool = False


@dataclass(slots=True)
class ThreadRecord:
    """A thread of one client, who does one thing at a time in it."""

    name: str
    id: str
    posts: list[PostRecord] = field(default_factory=list)
    runs: list[RunRecord] = field(default_factory=list)
    # The value of `metadata.step` that was acknowledged last, and those that may have been stored later.
    step: str | None = None
    unsure_steps: set[str] = field(default_factory=set)


@dataclass(slots=True)
class FileRecord:
    """A file, and the vector store that it was put into."""

    id: str
    content: bytes
    store_id: str | None = None


@dataclass(slots=True)
class Ledger:
    """All records, and counts: `requests` by kind, `answers` by status, `retries` of requests that broke."""

    threads: list[ThreadRecord] = field(default_factory=list)
    files: list[FileRecord] = field(default_factory=list)
    assistants: dict[str, str] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    requests: Counter[str] = field(default_factory=Counter)
    answers: Counter[int] = field(default_factory=Counter)
    breaks: Counter[str] = field(default_factory=Counter)
    resumed_streams: int = 0
    unanswered: int = 0
    faults: list[str] = field(default_factory=list)
