"""Which embedding models this server has: the embedded one always, and those of one server where a setting names it."""

from __future__ import annotations

from pathlib import Path

from service.search.embed import minilm
from service.search.embed.base import Embedder, EmbeddingError
from service.search.embed.minilm import MiniLM

# Models of one server that stores may have been made with, over the years.
MAX_MODELS = 32


class Embedders:
    """`model` is what new stores get. Models are opened when they are first asked for."""

    def __init__(
        self, log: Path, base_url: str | None = None, model: str | None = None, key: str | None = None
    ) -> None:
        self.model = model if base_url is not None and model is not None else minilm.NAME
        self._log = log
        self._base_url, self._key = base_url, key
        self._open: dict[str, Embedder] = {}

    def named(self, name: str) -> Embedder:
        """Raises EmbeddingError for a model that is not to be had here."""
        found = self._open.get(name)
        if found is None:
            found = self._open[name] = self._made(name)
        return found

    def _made(self, name: str) -> Embedder:
        if name == minilm.NAME:
            return MiniLM(self._log)
        if self._base_url is None:
            raise EmbeddingError(
                f"The store's vectors are of the model '{name}', and no EVERTHREAD_EMBEDDING_BASE_URL says where that"
                " is. Set it, or move the store to the present model with `everthread reindex`."
            )
        if len(self._open) >= MAX_MODELS:
            raise EmbeddingError(f"More than {MAX_MODELS} embedding models are in use.")
        # Its libraries cost 30 MB that nobody without such a server should pay.
        from service.search.embed.remote import RemoteEmbedder

        return RemoteEmbedder(self._base_url, name, self._key)

    async def close(self) -> None:
        for embedder in self._open.values():
            await embedder.close()
