"""Builds the search engine of the service: indexer, searcher, parser and embedding models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from service.database import Pool
from service.fair_places import OpenPlaces, open_own_places
from service.model.tokens import process_tokens
from service.sandbox.probe import SandboxProbe
from service.search.embed.factory import Embedders
from service.search.hybrid import PostgresSearcher
from service.search.indexer import PostgresIndexer
from service.search.parse.parser import Parser
from service.search.parse.sandbox_process import SandboxRunner
from service.search.vector_tables import VectorTables


@dataclass(frozen=True, slots=True)
class PostgresSearchEngine:
    """A SearchEngine over our own tables."""

    indexer: PostgresIndexer
    searcher: PostgresSearcher
    embedders: Embedders

    async def close(self) -> None:
        await self.embedders.close()


def open_search_engine(
    pool: Pool,
    probe: SandboxProbe,
    log: Path,
    *,
    now: Callable[[], datetime],
    base_url: str | None = None,
    model: str | None = None,
    api_key: str | None = None,
    open_places: OpenPlaces = open_own_places,
) -> PostgresSearchEngine:
    """Returns a search engine that starts its processes and loads its models at their first use.

    The embedding process writes its output to the file `log`. `base_url`, `model` and `api_key` are those of an
    embedding server; without them the embedded model is used.
    """
    embedders, tables = Embedders(log, base_url, model, api_key, now=now), VectorTables(pool)
    indexer = PostgresIndexer(
        pool=pool,
        parser=Parser(SandboxRunner(probe), open_places=open_places),
        embedders=embedders,
        tables=tables,
        tokens=process_tokens(),
        open_places=open_places,
    )
    return PostgresSearchEngine(indexer, PostgresSearcher(pool, embedders, tables, now=now), embedders)
