"""What the rest asks of indexing and search.

A vector store's files, their states and attributes live in views (`vector_stores`, `vector_store_files`) that follow
the store's events; chunks and vectors are made from the files' bytes and belong to whoever implements these Protocols.
The seam between both is the *job*: a number that the store gives out once, with every attempt at a file, and never
again. The view's row of a file names the job that is at work on it, or whose chunks are the file's.

- Chunks are written under their job. Before each write (in the write's own transaction) the row is looked at, FOR
  SHARE: where it no longer is `in_progress` under this job, `Stale` is raised and nothing is written. So a file that
  was removed, deleted or taken over by another process meanwhile never gets chunks.
- A search and `content` see only chunks whose row is `completed` under the chunks' own job, and join the row for its
  attributes (jsonb): changing attributes touches no chunk, and half-indexed files are never found.
- The columns to join are store_id, file_id, status, job, filename and attributes of `vector_store_files`.
- A chunk is live while its file's row is `in_progress` or `completed` under the chunk's own job. What is not is removed
  by whoever starts anew on a file, by `remove` and by `sweep`. Rows of expired stores lose their job.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Attributes = Mapping[str, str | float | bool]
ErrorCode = Literal["server_error", "unsupported_file", "invalid_file"]
Ranker = Literal["auto", "default_2024_08_21", "default-2024-11-15", "none"]


class Stale(Exception):
    """The file is not this job's any more: removed, deleted, cancelled, or taken over."""


class IndexingFailed(Exception):
    """The file's end: it cannot be indexed, and trying again would not help. `message` is for the client."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code: ErrorCode = code
        self.message = message


class SearchFailed(Exception):
    """The search could not be made, the embedding server's fault or ours. `message` is for the client or the run."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


@dataclass(frozen=True, slots=True)
class Job:
    """One attempt at indexing a file into a store.

    `read` opens the file's bytes anew on every call, in pieces of about a MiB; what it raises (BlobMissing,
    StorageError) is to be let through. `size` is in bytes. `attributes` are for information: search joins the view's.
    """

    store_id: str
    file_id: str
    number: int
    filename: str
    content_type: str
    size: int
    read: Callable[[], AsyncIterator[bytes]]
    max_chunk_tokens: int
    overlap_tokens: int
    embedding_model: str
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class Indexed:
    """`usage_bytes` is what the chunks and vectors take, as usage_bytes of the file and its store show it."""

    usage_bytes: int
    chunks: int


@dataclass(frozen=True, slots=True)
class StoreRef:
    """A store to search, with the model that its vectors are of."""

    id: str
    embedding_model: str


@dataclass(frozen=True, slots=True)
class Hit:
    """One chunk. `score` is between 0 and 1; `position` is the chunk's place in its file, `page` a PDF's page."""

    store_id: str
    file_id: str
    filename: str
    score: float
    attributes: Attributes
    text: str
    position: int
    page: int | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """`queries` are those that were searched for."""

    queries: Sequence[str]
    hits: Sequence[Hit]


class Indexer(Protocol):
    @property
    def model(self) -> str:
        """The embedding model that new stores get; each store keeps the one it was made with."""
        ...

    async def index(self, job: Job) -> Indexed:
        """Parses, chunks and embeds the file, and writes its chunks under the job. Idempotent: clears older chunks of
        the pair first. When it returns, everything is committed.

        Raises IndexingFailed (final), Stale, and whatever the database or `job.read` raise (tried again as the next
        attempt). Cancelling it ends every child process and leaves at most leftovers under a dead job.
        """
        ...

    async def remove(self, store_id: str, file_ids: Collection[str] | None = None) -> None:
        """Deletes the chunks of these files, or of the whole store, that are not live, in bounded bites."""
        ...

    async def sweep(self) -> None:
        """Deletes chunks of all stores that are not live, a bounded number: what crashes left. Called every hour."""
        ...


class Searcher(Protocol):
    async def search(
        self,
        stores: Sequence[StoreRef],
        queries: Sequence[str],
        *,
        limit: int,
        threshold: float = 0.0,
        where: str | None = None,
        ranker: Ranker = "auto",
    ) -> Found:
        """The best chunks of the stores' completed files, best first, at most `limit` (1–50) over all queries.

        Scores below `threshold` are left out. `where` is a jsonpath predicate over the attributes
        (`filters.jsonpath`): one parameter of the query, `attributes @@ $n::jsonpath`. Raises SearchFailed and what the
        database raises.
        """
        ...

    async def content(self, store_id: str, file_id: str, *, after: int, limit: int) -> list[str]:
        """The texts of the file's chunks in order, at most `limit` of those behind the position `after` (-1: from the
        start)."""
        ...


class Vectors(Protocol):
    """Indexing and search, put together."""

    @property
    def indexer(self) -> Indexer: ...

    @property
    def searcher(self) -> Searcher: ...

    async def close(self) -> None: ...
