"""The Protocols of indexing and search, and the types that they share with the rest of the service.

The files of a vector store, their statuses and their attributes are rows of the views `vector_stores` and
`vector_store_files`, which follow the store's events. Chunks and vectors are computed from the files' bytes and belong
to the implementation of these Protocols. The two meet in the *job number*: the store assigns a new number to every
attempt at a file and never uses a number twice. The view's row of a file names either the job that is indexing the file
or the job that wrote the file's chunks.

- Chunks are written under their job's number. In the transaction of each write the row is first read FOR SHARE. If it
  is no longer `in_progress` under this job, `RevokedJob` is raised and nothing is written. So a file that has been
  removed, deleted or taken over by another process in the meantime never gets chunks.
- A search and `chunk_texts` see only chunks whose row is `completed` under the chunks' own job, and join the row for
  its attributes (jsonb). So a change of attributes touches no chunk, and half-indexed files are never found.
- The columns to join are store_id, file_id, status, job, filename and attributes of `vector_store_files`.
- A chunk is live while its file's row is `in_progress` or `completed` under the chunk's own job. Chunks that are not
  live are removed by the next attempt at the file, by `remove` and by `sweep`. The rows of an expired store lose their
  job, so its chunks are not live.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

AttributeValues = Mapping[str, str | float | bool]
IndexingErrorCode = Literal["server_error", "unsupported_file", "invalid_file"]
Ranker = Literal["auto", "default_2024_08_21", "default-2024-11-15", "none"]


class RevokedJob(Exception):
    """The file no longer belongs to this job: it was removed, deleted, cancelled, or taken over by another job."""


class IndexingFailure(Exception):
    """The file cannot be indexed, and another attempt would not help. `message` is shown to the client."""

    def __init__(self, code: IndexingErrorCode, message: str) -> None:
        super().__init__(message)
        self.code: IndexingErrorCode = code
        self.message = message


class IndexingInterrupted(Exception):
    """A process that reads or embeds files died. Another attempt may succeed."""


class SearchFailure(Exception):
    """The search failed, in the embedding server or here. `message` is shown to the client or to the run."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


@dataclass(frozen=True, slots=True)
class IndexingJob:
    """One attempt at indexing a file into a vector store.

    Each call of `read` starts at the file's first byte and yields pieces of about a MiB; the indexer lets its errors
    (BlobMissing, StorageError) through. `size` is in bytes. `attributes` are informative only: a search joins those of
    the view. `previous` is the job number of the attempt before, if this attempt may continue it: the file has not been
    added again since, so it has the same bytes and the same settings of chunks. `flow` names the files with which this
    one shares turns for work that only so much of may be done at once (see FairPlaces).
    """

    store_id: str
    file_id: str
    project_id: str
    number: int
    filename: str
    content_type: str
    size: int
    read: Callable[[], AsyncIterator[bytes]]
    max_chunk_tokens: int
    overlap_tokens: int
    embedding_model: str
    attributes: AttributeValues
    previous: int | None = None
    flow: str = ""


@dataclass(frozen=True, slots=True)
class IndexingResult:
    """The sizes of an indexed file.

    `usage_bytes` counts its text and its vectors; the API reports it as the usage_bytes of the file and of its store.
    """

    usage_bytes: int
    chunks: int


@dataclass(frozen=True, slots=True)
class StoreRef:
    """A vector store to search, with the embedding model of its vectors."""

    id: str
    embedding_model: str


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that a search found.

    `score` is between 0 and 1, `position` is the chunk's number in its file, and `page` is the page of a PDF or the
    slide of a presentation that the chunk begins on.
    """

    store_id: str
    file_id: str
    filename: str
    score: float
    attributes: AttributeValues
    text: str
    position: int
    page: int | None = None


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The hits of a search, best first, and the queries that it used."""

    queries: Sequence[str]
    hits: Sequence[Hit]


class Indexer(Protocol):
    @property
    def embedding_model(self) -> str:
        """The embedding model of new vector stores; each store keeps the model that it was created with."""
        ...

    def can_index(self, filename: str) -> bool:
        """Returns whether files with the ending of this name can be indexed."""
        ...

    async def index(self, job: IndexingJob) -> IndexingResult:
        """Parses, chunks and embeds the file, and writes its chunks under the job. Returns after the last commit.

        It first deletes the chunks that earlier jobs wrote for the same file and store, or continues those of
        `job.previous`. Raises
        IndexingFailure (final), RevokedJob, and the errors of the database and of `job.read` (the caller retries these
        with a new job). If it is cancelled, it ends every child process; any rows that it leaves belong to a dead job.
        """
        ...

    async def remove(self, store_id: str, file_ids: Collection[str] | None = None) -> None:
        """Deletes the chunks of these files, or of the whole store, that are not live, in transactions of bounded
        size."""
        ...

    async def sweep(self) -> None:
        """Deletes a bounded number of chunks that are not live, in all stores: leftovers of crashes. Runs every
        hour."""
        ...

    async def renew_words(self) -> int:
        """Gives the chunks that an older version wrote the words of this version, in transactions of bounded size.

        Returns the number of files whose words were older. Two processes may do it at the same time.
        """
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
    ) -> SearchResult:
        """Returns the best chunks of the stores' completed files, best first, at most `limit` (1–50) over all queries.

        Scores below `threshold` are left out. `where` is a jsonpath predicate over the attributes
        (`filters.jsonpath`), passed as one parameter of the query: `attributes @@ $n::jsonpath`. Raises SearchFailure
        and the errors of the database.
        """
        ...

    async def chunk_texts(self, store_id: str, file_id: str, *, after: int, limit: int) -> list[str]:
        """Returns the texts of at most `limit` of the file's chunks, in order, that follow the position `after`
        (-1: from the first chunk)."""
        ...


class SearchEngine(Protocol):
    """An indexer and a searcher over the same chunks."""

    @property
    def indexer(self) -> Indexer: ...

    @property
    def searcher(self) -> Searcher: ...

    async def close(self) -> None: ...
