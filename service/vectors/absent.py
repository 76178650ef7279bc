"""Until this server can index: every file says so, and nothing is found."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from service.vectors.base import Found, Indexed, IndexingFailed, Job, Ranker, SearchFailed, StoreRef

WHY = "This Everthread server cannot index files yet."


class AbsentVectors:
    model = "none"

    @property
    def indexer(self) -> AbsentVectors:
        return self

    @property
    def searcher(self) -> AbsentVectors:
        return self

    async def index(self, job: Job) -> Indexed:
        raise IndexingFailed("server_error", WHY)

    async def remove(self, store_id: str, file_ids: Collection[str] | None = None) -> None:
        """There are no chunks."""

    async def sweep(self) -> None:
        """There are no chunks."""

    async def search(
        self,
        stores: Sequence[StoreRef],
        queries: Sequence[str],
        *,
        limit: int,
        threshold: float = 0.0,
        where: str | None = None,
        ranker: Ranker = "auto",
        rewrite: bool = False,
    ) -> Found:
        raise SearchFailed(WHY)

    async def content(self, store_id: str, file_id: str, *, after: int, limit: int) -> list[str]:
        raise SearchFailed(WHY)

    async def close(self) -> None:
        """Nothing was opened."""
