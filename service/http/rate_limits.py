"""The limits of an API key, applied to its requests: the 429 with its Retry-After, and the x-ratelimit headers."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager

from aiohttp import web

from projections.keys import ApiKey
from service.access.rate_limits import LimitStatus, RateLimitExceeded
from service.access.stream_limits import TooManyStreams
from service.http.context import GRANT, KEY, ROUTE
from service.http.errors import ApiError
from service.http.responses import add_headers
from service.http.services import ACCESS

# Seconds that a client should wait if too many streams are open. Nobody knows when one will end.
STREAMS_WAIT = 5
_WORDS = {"requests": "requests per min (RPM)", "tokens": "tokens per min (TPM)", "runs": "runs at once"}


def admit(request: web.Request, key: ApiKey) -> None:
    """Counts the request against its key, and adds the x-ratelimit headers. Raises ApiError with status 429."""
    if key.requests_per_minute is None and key.tokens_per_minute is None:
        return
    limits = request.app[ACCESS].limits
    spends = ROUTE in request and request[ROUTE].cost == "tokens"
    try:
        _add_status(request, limits.admit(key, spends=spends))
    except RateLimitExceeded as limited:
        _add_status(request, limits.status(key))
        raise _rate_limit_error(request, key, limited) from None


@asynccontextmanager
async def reserve_run(request: web.Request) -> AsyncIterator[None]:
    """Holds one of the runs that the request's key may have at once during the body, which creates the run.

    Raises ApiError with status 429 if the key has all of them in use.
    """
    key = request[KEY]
    if key.max_runs is None:
        yield
        return
    try:
        async with request.app[ACCESS].limits.reserve_run(key):
            yield
    except RateLimitExceeded as limited:
        raise _rate_limit_error(request, key, limited) from None


@contextmanager
def reserve_stream(request: web.Request, *, streams: bool = True) -> Iterator[None]:
    """Holds a place for a stream during the body, if the request asked for one. Raises ApiError if there are too many.

    A handler enters this before it changes anything, so that no run is created whose stream is then refused.
    """
    if not streams:
        yield
        return
    token = request.query["token"] if GRANT in request else None
    try:
        with request.app[ACCESS].streams.reserve(request[KEY].id, token):
            yield
    except TooManyStreams as too_many:
        raise _too_many_streams(request, too_many) from None


def _too_many_streams(request: web.Request, found: TooManyStreams) -> ApiError:
    add_headers(request, {"retry-after": str(STREAMS_WAIT)})
    owner = {"server": "This server", "key": f"API key {request[KEY].id}", "token": "This token"}[found.owner]
    message = f"{owner} has {found.limit} streams open, the most it may have. Please close one, or try again later."
    if found.owner == "server":
        return ApiError(503, message, code="too_many_streams")
    return ApiError(429, message, code="too_many_streams", kind="requests")


def _rate_limit_error(request: web.Request, key: ApiKey, limited: RateLimitExceeded) -> ApiError:
    """Returns the 429. SDKs read retry-after-ms, then Retry-After, which has whole seconds only."""
    add_headers(
        request, {"retry-after": str(math.ceil(limited.wait)), "retry-after-ms": str(math.ceil(limited.wait * 1000))}
    )
    message = (
        f"Rate limit reached for key {key.id} in project {key.project_id} on {_WORDS[limited.measure]}:"
        f" Limit {limited.limit}, Used {limited.used}. Please try again in {_duration(limited.wait)}."
    )
    kind = "tokens" if limited.measure == "tokens" else "requests"
    return ApiError(429, message, code="rate_limit_exceeded", kind=kind)


def _add_status(request: web.Request, statuses: Iterable[LimitStatus]) -> None:
    headers = {}
    for status in statuses:
        headers[f"x-ratelimit-limit-{status.measure}"] = str(status.limit)
        headers[f"x-ratelimit-remaining-{status.measure}"] = str(status.remaining)
        headers[f"x-ratelimit-reset-{status.measure}"] = _duration(status.reset)
    add_headers(request, headers)


def _duration(seconds: float) -> str:
    """Returns a time as the original writes it: 120ms, 17.5s, 1m0s."""
    ms = math.ceil(seconds * 1000)
    if ms < 1000:
        return f"{ms}ms"
    minutes, rest = divmod(ms, 60_000)
    return f"{minutes}m{rest / 1000:g}s" if minutes else f"{rest / 1000:g}s"
