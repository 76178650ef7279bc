"""Everything that indexing and search are made of, put together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from service.database import Pool
from service.model.tokens import Tokens
from service.sandbox.probe import Confinement
from service.search.embed.factory import Embedders
from service.search.hybrid import StoredSearcher
from service.search.indexer import StoredIndexer
from service.search.parse.parser import Parser
from service.search.parse.sandbox_process import InSandbox
from service.search.vector_tables import Models


@dataclass(frozen=True, slots=True)
class Vectors:
    indexer: StoredIndexer
    searcher: StoredSearcher
    embedders: Embedders

    async def close(self) -> None:
        await self.embedders.close()


def open_vectors(
    pool: Pool,
    confinement: Confinement,
    log: Path,
    *,
    base_url: str | None = None,
    model: str | None = None,
    api_key: str | None = None,
) -> Vectors:
    """`log` is a file for what the embedding process says. Nothing is started or loaded before it is needed."""
    embedders, models = Embedders(log, base_url, model, api_key), Models(pool)
    indexer = StoredIndexer(pool, Parser(InSandbox(confinement)), embedders, models, Tokens())
    return Vectors(indexer, StoredSearcher(pool, embedders, models), embedders)
