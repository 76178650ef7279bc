"""Where a key's limits meet its requests: a 429 that says when to come again, and headers that say what is left."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager

from aiohttp import web

from projections.keys import ApiKey
from service.access.rate_limits import LimitStatus, RateLimitExceeded
from service.access.stream_limits import TooManyStreams
from service.http.context import EXTRA, GRANT, KEY, deps
from service.http.errors import ApiError

# What makes models work, and so uses tokens.
_SPENDING = ("/runs", "/submit_tool_outputs", "/completions", "/embeddings")
# Seconds until a client should ask again that found too many streams open: nobody knows when one will end.
STREAMS_WAIT = 5
_WORDS = {"requests": "requests per min (RPM)", "tokens": "tokens per min (TPM)", "runs": "runs at once"}


def admit(request: web.Request, key: ApiKey) -> None:
    """Lets the request through, and tells how the key stands. Raises ApiError with status 429."""
    if key.requests_per_minute is None and key.tokens_per_minute is None:
        return
    limits = deps(request).limits
    spends = request.method == "POST" and request.path.endswith(_SPENDING)
    try:
        _tell(request, limits.admit(key, spends=spends))
    except RateLimitExceeded as limited:
        _tell(request, limits.status(key))
        raise _refused(request, key, limited) from None


@asynccontextmanager
async def starting(request: web.Request) -> AsyncIterator[None]:
    """While it lasts, the request begins a run. Raises ApiError where its key has as many under way as it may."""
    key = request[KEY]
    if key.max_runs is None:
        yield
        return
    try:
        async with deps(request).limits.reserve_run(key):
            yield
    except RateLimitExceeded as limited:
        raise _refused(request, key, limited) from None


@contextmanager
def streaming(request: web.Request, *, asked: bool = True) -> Iterator[None]:
    """While it lasts, the request's answer is a stream, where that was asked. Raises ApiError where there are too many.

    To be asked before anything is done: a run is not made whose stream cannot be.
    """
    if not asked:
        yield
        return
    token = request.query["token"] if GRANT in request else None
    try:
        with deps(request).streams.reserve(request[KEY].id, token):
            yield
    except TooManyStreams as too_many:
        raise _too_many(request, too_many) from None


def _too_many(request: web.Request, found: TooManyStreams) -> ApiError:
    extra(request, {"retry-after": str(STREAMS_WAIT)})
    owner = {"server": "This server", "key": f"API key {request[KEY].id}", "token": "This token"}[found.owner]
    message = f"{owner} has {found.limit} streams open, the most it may have. Please close one, or try again later."
    if found.owner == "server":
        return ApiError(503, message, code="too_many_streams")
    return ApiError(429, message, code="too_many_streams", kind="requests")


def _refused(request: web.Request, key: ApiKey, limited: RateLimitExceeded) -> ApiError:
    """SDKs read retry-after-ms, then Retry-After, which knows whole seconds only."""
    extra(request, {"retry-after": str(math.ceil(limited.wait)), "retry-after-ms": str(math.ceil(limited.wait * 1000))})
    message = (
        f"Rate limit reached for key {key.id} in project {key.project_id} on {_WORDS[limited.measure]}:"
        f" Limit {limited.limit}, Used {limited.used}. Please try again in {_duration(limited.wait)}."
    )
    kind = "tokens" if limited.measure == "tokens" else "requests"
    return ApiError(429, message, code="rate_limit_exceeded", kind=kind)


def _tell(request: web.Request, standings: Iterable[LimitStatus]) -> None:
    told = {}
    for standing in standings:
        told[f"x-ratelimit-limit-{standing.measure}"] = str(standing.limit)
        told[f"x-ratelimit-remaining-{standing.measure}"] = str(standing.remaining)
        told[f"x-ratelimit-reset-{standing.measure}"] = _duration(standing.reset)
    extra(request, told)


def extra(request: web.Request, told: dict[str, str]) -> None:
    """Headers that whatever response the request gets will carry."""
    request[EXTRA] = {**request.get(EXTRA, {}), **told}


def _duration(seconds: float) -> str:
    """As the original writes times: 120ms, 17.5s, 1m0s."""
    ms = math.ceil(seconds * 1000)
    if ms < 1000:
        return f"{ms}ms"
    minutes, rest = divmod(ms, 60_000)
    return f"{minutes}m{rest / 1000:g}s" if minutes else f"{rest / 1000:g}s"
