"""The model that runs see: the catalogue, one upstream client per endpoint, and token counts."""

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
from service.model.function_choice import emulated
from service.model.passthrough import ModelRelay
from service.model.tokens import EncodingName, Tokens, at_most
from service.model.tool_prompt import prompted
from service.model.upstream import Timeouts, Upstream

HEALTH_FOR_S = 2.0  # a health answer is kept so long: /healthz needs no key and must not hammer the upstream


class Router:
    """Implements base.Model; `relay` is for requests that are passed through.

    Made by `open_model`, in the loop that uses it; `close` it there.
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
        self._tokens = Tokens()
        self._clock = clock
        self._health: tuple[float, str | None] | None = None
        self._asking = asyncio.Lock()

    def stream(self, request: ChatRequest) -> AsyncGenerator[Sequence[ModelEvent], None]:
        route = self._catalog.route(request.model)
        call = partial(self._upstreams[route.endpoint].stream, route)
        if route.info.tools == "prompted":
            return prompted(call, request, self._new_call_id)
        return call(request) if route.info.tools or not request.tools else emulated(call, request, self._new_call_id)

    def info(self, model: str) -> ModelInfo:
        return self._catalog.route(model).info

    async def prepare(self, model: str) -> None:
        await self._tokens.prepare(_encoding(self.info(model)))

    def count(self, model: str, text: str) -> int:
        info = self.info(model)
        return math.ceil(self._tokens.count(_encoding(info), text) * info.margin)

    def at_most(self, model: str, text: str) -> int:
        return math.ceil(at_most(text) * self.info(model).margin)

    async def healthy(self) -> str | None:
        """As base.Model says; an answer is kept for HEALTH_FOR_S, and one question is under way at a time."""
        async with self._asking:
            if self._health is None or self._clock() - self._health[0] >= HEALTH_FOR_S:
                answer = await self._upstreams[self._catalog.default].healthy()
                self._health = (self._clock(), answer)
            return self._health[1]

    async def close(self) -> None:
        """Closes every connection. Calls under way fail: stop their runs first."""
        for upstream in self._upstreams.values():
            await upstream.close()


def open_model(
    base_url: str,
    api_key: str | None = None,
    models_file: Path | None = None,
    served: ModelInfo | None = None,
    timeouts: Timeouts | None = None,
    *,
    now: Callable[[], datetime],
    new_call_id: Callable[[], str],
) -> Router:
    """The model behind these settings. Connects at the first call.

    `base_url` and `api_key` are the default upstream's, with its /v1. `served` is for the embedded model: it answers
    every name that the models file gives to nobody else. `now` is the clock that dates in Retry-After are compared
    with; `new_call_id` makes ids of tool calls whose server gave none. Raises CatalogError (a ValueError) with one
    clear line.
    """
    try:
        default = Endpoint(catalog.checked_url(base_url).rstrip("/"), api_key)
    except ValueError as error:
        raise catalog.CatalogError(f"EVERTHREAD_MODEL_BASE_URL: {error}") from None
    known = Catalog(default, served=served) if models_file is None else catalog.load(models_file, default, served)
    return Router(known, timeouts, now=now, new_call_id=new_call_id)


def _encoding(info: ModelInfo) -> EncodingName:
    return cast(EncodingName, info.encoding)  # the catalogue admits no other
