"""The model that runs use: the catalogue, one upstream client for each endpoint, and token counts."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import cast

from service.model import catalog
from service.model.base import ChatRequest, ModelEvent, ModelInfo
from service.model.catalog import Catalog, Endpoint
from service.model.function_choice import stream_required_call
from service.model.passthrough import ModelRelay
from service.model.tokens import process_tokens, token_bound
from service.model.tool_fallback import stream_with_fallback
from service.model.tool_prompt import stream_prompted
from service.model.upstream import Timeouts, Upstream
from service.model.vocabularies import EncodingName
from service.prices import PriceList

HEALTH_FOR_S = 2.0  # an answer is kept this long, since anyone can call /healthz, without a key and at any rate


class Router:
    """Implements base.Model; `relay` handles requests that are passed through to an upstream.

    Create it with `open_model` in the event loop that uses it, and close it there.
    """

    def __init__(
        self,
        known: Catalog,
        timeouts: Timeouts | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        now: Callable[[], datetime],
        new_call_id: Callable[[], str],
    ) -> None:
        self._catalog = known
        self._new_call_id = new_call_id
        self._upstreams = {
            endpoint: Upstream(endpoint, timeouts, now=now, new_call_id=new_call_id) for endpoint in known.endpoints()
        }
        self.relay = ModelRelay(known, self._upstreams)
        self._tokens = process_tokens()
        self._clock = clock
        self._health: tuple[float, str | None] | None = None
        self._checking = asyncio.Lock()

    @property
    def prices(self) -> PriceList:
        """The prices of models by the client's names for them."""
        return self._catalog.prices

    def stream(self, request: ChatRequest) -> AsyncGenerator[Sequence[ModelEvent], None]:
        route = self._catalog.route(request.model)
        upstream = self._upstreams[route.endpoint]
        call = partial(upstream.stream, route)
        if route.info.tools == "prompted" or (route.info.tools and upstream.lacks_tools(route)):
            return stream_prompted(call, request, self._new_call_id)
        if not request.tools:
            return call(request)
        if not route.info.tools:
            return stream_required_call(call, request, self._new_call_id)
        return stream_with_fallback(call, request, self._new_call_id, partial(upstream.learn_lack_of_tools, route))

    def info(self, model: str) -> ModelInfo:
        return self._catalog.route(model).info

    async def prepare(self, model: str) -> None:
        await self._tokens.prepare(_encoding(self.info(model)))

    def count_tokens(self, model: str, text: str) -> int:
        info = self.info(model)
        return math.ceil(self._tokens.count(_encoding(info), text) * info.margin)

    def token_bound(self, model: str, text: str) -> int:
        return math.ceil(token_bound(text) * self.info(model).margin)

    async def check_health(self) -> str | None:
        """See base.Model. An answer is kept for HEALTH_FOR_S, and only one check runs at a time."""
        async with self._checking:
            if self._health is None or self._clock() - self._health[0] >= HEALTH_FOR_S:
                answer = await self._upstreams[self._catalog.default].check_health()
                self._health = (self._clock(), answer)
            return self._health[1]

    async def close(self) -> None:
        """Closes every connection. Active calls fail, so stop their runs first."""
        for upstream in self._upstreams.values():
            await upstream.close()


def open_model(
    base_url: str,
    api_key: str | None = None,
    models_file: Path | None = None,
    embedded: ModelInfo | None = None,
    timeouts: Timeouts | None = None,
    *,
    now: Callable[[], datetime],
    new_call_id: Callable[[], str],
) -> Router:
    """Returns the model of these settings. It connects with the first call.

    `base_url` (ending in /v1) and `api_key` are those of the default upstream. If the default upstream is the embedded
    model, `embedded` describes it, and it serves every name that the models file does not assign. Raises CatalogError
    (a ValueError) with a message of one line.

    Dates in Retry-After are compared with `now`; `new_call_id` returns an id for a tool call to which its server gave
    none.
    """
    try:
        default = Endpoint(catalog.check_url(base_url).rstrip("/"), api_key)
    except ValueError as error:
        raise catalog.CatalogError(f"EVERTHREAD_MODEL_BASE_URL: {error}") from None
    if models_file is None:
        known = Catalog(default, embedded=embedded)
    else:
        known = catalog.load_catalog(models_file, default, embedded)
    return Router(known, timeouts, now=now, new_call_id=new_call_id)


def _encoding(info: ModelInfo) -> EncodingName:
    return cast(EncodingName, info.encoding)  # the catalogue has validated it
