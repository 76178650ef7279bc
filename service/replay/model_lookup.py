"""The facts about models that a replay needs: tokens of texts, prices, and settings of calls without a record."""

from __future__ import annotations

import math
from pathlib import Path
from typing import cast

from service.model.catalog import Catalog, CatalogError, Endpoint, load_catalog, load_prices
from service.model.tokens import process_tokens
from service.model.vocabularies import EncodingName
from service.prices import PriceList
from service.replay.prompt_rendering import AssumedModel
from service.runs.prompt import output_room


class ModelLookup:
    """Looks models up by the names that clients use."""

    def __init__(self, catalog: Catalog, prices: PriceList) -> None:
        self.prices = prices
        self._catalog = catalog
        self._tokens = process_tokens()

    def count_tokens(self, model: str, text: str) -> int:
        """Returns the tokens of a text, with the model's safety margin. Blocks until another process has counted."""
        info = self._catalog.route(model).info
        return math.ceil(self._tokens.count(cast(EncodingName, info.encoding), text) * info.margin)

    def assume(self, model: str) -> AssumedModel:
        """Returns the settings of a call as it would be made now."""
        route = self._catalog.route(model)
        return AssumedModel(
            model=route.info.upstream_name,
            limit_field=route.limit_field,
            vision=route.info.vision,
            room=output_room(route.info.context_window),
        )


def open_lookup(base_url: str | None, models_file: Path | None) -> ModelLookup:
    """Returns the models of these settings. Keys of upstreams need not be set. Raises CatalogError."""
    default = Endpoint(base_url or "", None)
    if models_file is None:
        return ModelLookup(Catalog(default), lambda _: ())
    prices = load_prices(models_file)
    try:
        return ModelLookup(load_catalog(models_file, default), prices)
    except CatalogError:  # a key of an upstream is not set here
        return ModelLookup(Catalog(default), prices)
