"""Opens and closes the model that runs use."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

from service.model.base import ModelInfo
from service.model.router import Router, open_model

EMBEDDED_MODEL = ModelInfo(
    upstream_name="embedded", context_window=8192, encoding="cl100k_base", margin=1.5, vision=False, tools="prompted"
)


@asynccontextmanager
async def model_lifespan(
    base_url: str,
    api_key: str | None,
    *,
    models_file: Path | None,
    is_embedded: bool,
    now: Callable[[], datetime],
    new_call_id: Callable[[], str],
) -> AsyncIterator[Router]:
    """Yields the model. `is_embedded` if `base_url` leads to the embedded model; see `open_model`.

    Raises CatalogError.
    """
    router = open_model(
        base_url,
        api_key,
        models_file,
        embedded=EMBEDDED_MODEL if is_embedded else None,
        now=now,
        new_call_id=new_call_id,
    )
    try:
        yield router
    finally:
        await router.close()
