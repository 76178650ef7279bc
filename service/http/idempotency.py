"""Idempotency-Key on POSTs: recognises a repeated request, and answers duplicates.

A key belongs to the API key that sent it. A request is the same if method, path, version and body are equal: JSON in
any order of its keys, a form with any boundary, a body that is passed to a model byte by byte. A duplicate of a request
for a run's stream gets the stream of that run from its beginning. A request that was refused, or failed without effect,
may be repeated under the same key. An answer that holds a secret is not stored: the duplicate gets a new secret.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace

import orjson
from aiohttp import hdrs, web

from events.ids import SeededIds
from service.http.bodies import decode, is_large, receive_body
from service.http.context import ATTEMPT, BODIES, IDS, KEY, ORIGIN, ROUTE, WIRE, origin
from service.http.errors import ApiError, Handler
from service.http.responses import NO_STORE, add_headers
from service.http.route import PassedBody
from service.http.services import IDEMPOTENCY
from service.idempotency.keys import AlreadyAnswered, Attempt, KeyInUse, KeyReused, StoredAnswer

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
MAX_KEY = 255
_FORM = "multipart/form-data"


@web.middleware
async def idempotent(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Gives a POST with a key its effect exactly once. Must come behind the middleware that authenticates."""
    if request.method != hdrs.METH_POST or HEADER not in request.headers or ORIGIN not in request:
        return await handler(request)
    if request.match_info.http_exception is not None:
        return await handler(request)
    token, asked = _token(request), _request_hash(request)
    body = None if request.content_type == _FORM else await _body(request)
    try:
        attempt = await request.app[IDEMPOTENCY].begin(token, asked, body)
        try:
            return await _try(request, handler, attempt, body)
        except BaseException:
            await request.app[IDEMPOTENCY].release(attempt, keep=False)
            raise
    except KeyReused:
        raise _key_reuse_error() from None
    except KeyInUse:
        raise _busy(request) from None
    except AlreadyAnswered as answered:
        kept = answered.answer
        return web.Response(status=kept.status, body=kept.content, headers={**kept.headers, REPLAYED: "true"})


async def settle_form(request: web.Request, parts: Iterable[str]) -> None:
    """Begins the attempt of a form, once the form has been read. Raises AlreadyAnswered and ApiError."""
    if ATTEMPT not in request:
        return
    try:
        await request.app[IDEMPOTENCY].settle(request[ATTEMPT], _digest(*(part.encode() for part in parts)))
    except KeyReused:
        raise _key_reuse_error() from None
    except KeyInUse:
        raise _busy(request) from None


async def let_others_in(request: web.Request) -> None:
    """Lets duplicates continue from here on: the effect has happened, and the answer is a stream of it."""
    if ATTEMPT in request:
        await request.app[IDEMPOTENCY].release(request[ATTEMPT], keep=True)


async def _try(request: web.Request, handler: Handler, attempt: Attempt, body: bytes | None) -> web.StreamResponse:
    once = request.app[IDEMPOTENCY]
    if body is not None and not (attempt.is_claimed and not attempt.is_repeat):
        await once.settle(attempt, body)
    request[ATTEMPT] = attempt
    request[ORIGIN] = replace(origin(request), effects=attempt.effects)
    request[IDS] = SeededIds(attempt.effects.seed)
    response = await handler(request)
    kept = attempt.answer or _storable_answer(response)
    secret = response.headers.get("Cache-Control") == NO_STORE
    if kept is not None and 200 <= kept.status < 300 and not secret:
        await once.finish(attempt, kept)
    else:
        await once.release(attempt, keep=secret)
    return response


def _storable_answer(response: web.StreamResponse) -> StoredAnswer | None:
    """Returns the answer to store, or None if it is streamed or holds a secret."""
    if not isinstance(response, web.Response) or not isinstance(response.body, bytes):
        return None
    return StoredAnswer(response.status, {str(name): value for name, value in response.headers.items()}, response.body)


def _token(request: web.Request) -> bytes:
    """Returns the key of the request, or None if it has none. Raises ApiError if the key is invalid."""
    sent = request.headers.getall(HEADER)
    if len(sent) != 1 or not 0 < len(sent[0]) <= MAX_KEY or not (sent[0].isascii() and sent[0].isprintable()):
        message = f"Invalid '{HEADER}': send one, of 1 to {MAX_KEY} printable ASCII characters."
        raise ApiError(400, message, param=HEADER, code="invalid_idempotency_key")
    key = request[KEY]
    return _digest(key.project_id.encode(), key.id.encode(), sent[0].encode())


def _request_hash(request: web.Request) -> bytes:
    """Returns the hash of the request without its body: method, path and version."""
    version = request[WIRE].version if WIRE in request else ""
    return _digest(request.path_qs.encode(errors="surrogatepass"), version.encode())


async def _body(request: web.Request) -> bytes:
    """Returns the hash of the body: of its JSON if it is small and not passed to a model, otherwise of its bytes.

    Encoding a large body again would hold the event loop. Raises ApiError as `parse_request` does.
    """
    body = await receive_body(request)
    if is_large(body):
        return await request.app[BODIES].run(lambda: _digest(body.raw))
    if isinstance(request[ROUTE].body, PassedBody):
        return _digest(body.raw)
    try:
        return _digest(orjson.dumps(decode(body), option=orjson.OPT_SORT_KEYS))
    except TypeError:  # nested too deeply to be encoded again
        return _digest(body.raw)


def _digest(*parts: bytes) -> bytes:
    found = hashlib.sha256()
    for part in parts:
        found.update(b"%d:" % len(part))
        found.update(part)
    return found.digest()


def _key_reuse_error() -> ApiError:
    message = (
        f"This {HEADER} was used before for a request with another path or body. Use a new key for a new request;"
        " keys are kept for 24 hours."
    )
    return ApiError(400, message, param=HEADER, code="idempotency_key_reused")


def _busy(request: web.Request) -> ApiError:
    add_headers(request, {"retry-after": "1"})
    message = f"A request with this {HEADER} is still being worked on. Please try again."
    return ApiError(409, message, param=HEADER, code="idempotency_key_in_use")
