"""An embedding model of an OpenAI-compatible server. The caller forms batches; requests are retried here."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any

import orjson
import structlog

from service.errors import describe_connection_error
from service.model.errors import cause_of, hide_addresses, hide_keys, is_retryable
from service.model.http_client import CONNECTION_ERRORS, HttpClient, RedirectError, StatusError
from service.model.retry import MAX_ATTEMPTS, MAX_RETRY_AFTER_S, backoff, retry_after
from service.search.embed.base import EmbeddingError, Vector

log = structlog.get_logger(__name__)

# Texts of one request. At 800 tokens each they stay well below the 300,000 tokens that OpenAI allows.
BATCH = 128
# Requests of documents at the same time.
AT_ONCE = 4
CONNECT_S = 10.0
ANSWER_S = 60.0
MAX_CONNECTIONS = 16
# Greatest number of dimensions that pgvector stores.
MAX_DIMENSIONS = 16_000


class RemoteEmbedder:
    """An Embedder that connects to its server with the first text."""

    baseline = 0.0
    needs_windows = False
    batch = BATCH
    at_once = AT_ONCE

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key: str | None,
        *,
        now: Callable[[], datetime],
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.name = model
        self._base_url = base_url
        self._key = api_key or ""
        self._now = now
        self._sleep = sleep
        self._http = HttpClient(base_url, api_key, connect_s=CONNECT_S, max_connections=MAX_CONNECTIONS)

    async def embed(self, texts: Sequence[str], *, query: bool = False) -> list[Vector]:
        """See `Embedder.embed`."""
        if not texts:
            return []
        body = orjson.dumps({"model": self.name, "input": list(texts), "encoding_format": "float"})
        attempt = 1
        while True:
            error, can_retry, after = "", True, None
            try:
                async with asyncio.timeout(ANSWER_S):
                    async with await self._http.post("/embeddings", body) as response:
                        content = await response.read()
                return _parse_vectors(content, len(texts))
            except StatusError as refusal:
                error = f"it refused the request ({refusal.status}): {cause_of(refusal.body or 'no further words')}"
                can_retry = is_retryable(refusal.status, refusal.body, refusal.headers.get("x-should-retry"))
                after = retry_after(refusal.headers, self._now)
            except RedirectError as redirect:
                error, can_retry = f"it redirects to another address ({redirect.status})", False
            except CONNECTION_ERRORS as broken:
                error = f"it cannot be reached: {describe_connection_error(broken)}"
                if type(broken) is TimeoutError:
                    error = f"it gave no answer within {ANSWER_S:.0f} s"
            wait = backoff(attempt) if after is None else after
            error = hide_addresses(hide_keys(error, (self._key,) if self._key else ()), self._base_url)
            if not can_retry or attempt >= MAX_ATTEMPTS or wait > MAX_RETRY_AFTER_S:
                raise EmbeddingError(f"The embedding server failed: {error}")
            log.warning("embedding_request_retried", error=error, attempt=attempt, wait_s=wait)
            await self._sleep(wait)
            attempt += 1

    async def close(self) -> None:
        await self._http.close()


def _parse_vectors(content: bytes, count: int) -> list[Vector]:
    """Returns the answer's vectors in the order of the texts, scaled to length 1.

    Raises EmbeddingError if the answer does not hold `count` vectors of one size.
    """
    try:
        data: list[dict[str, Any]] = orjson.loads(content)["data"]
        rows = [row["embedding"] for row in sorted(data, key=lambda row: row.get("index", 0))]
        lengths = {len(row) for row in rows}
        scaled = [_unit(row) for row in rows]
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
        raise EmbeddingError("The embedding server gave an answer that holds no embeddings.") from None
    if len(rows) != count or len(lengths) != 1 or not 0 < min(lengths) <= MAX_DIMENSIONS:
        raise EmbeddingError("The embedding server gave too few embeddings, or not all of one size.")
    return scaled


def _unit(row: Sequence[float]) -> Vector:
    """Scales a vector to length 1. Raises ValueError if its length is zero or not finite."""
    length = math.sqrt(math.fsum(number * number for number in row))
    if not math.isfinite(length) or length == 0.0:
        raise ValueError("no direction")
    return [number / length for number in row]
