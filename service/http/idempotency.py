"""Idempotency-Key on POSTs: what makes a request the same one, and what a duplicate is answered.

A key belongs to the API key that sent it. The same request is the same method, path, version and body: JSON whatever
the order of its keys, a form whatever its boundary. The duplicate of a run's stream gets that run's stream from its
beginning. What was refused, or failed with nothing done, may be asked again under the same key. An answer that holds a
secret is kept nowhere: the duplicate gets one of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace

import orjson
from aiohttp import hdrs, web

from events.ids import SeededIds
from service.http.bodies import json_body, raw_body
from service.http.context import ATTEMPT, IDS, KEY, ORIGIN, WIRE, origin
from service.http.errors import ApiError, Handler
from service.http.responses import NO_STORE, add_headers
from service.http.services import IDEMPOTENCY
from service.idempotency import Answered, Attempt, Busy, Kept, Reused

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
MAX_KEY = 255
_FORM = "multipart/form-data"


@web.middleware
async def idempotent(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Sees to it that a POST with a key has its effect once. Behind the middleware that knows whose request it is."""
    if request.method != hdrs.METH_POST or HEADER not in request.headers or ORIGIN not in request:
        return await handler(request)
    if request.match_info.http_exception is not None:
        return await handler(request)
    token, asked = _token(request), _asked(request)
    body = None if request.content_type == _FORM else await _body(request)
    try:
        attempt = await request.app[IDEMPOTENCY].begin(token, asked, body)
        try:
            return await _try(request, handler, attempt, body)
        except BaseException:
            await request.app[IDEMPOTENCY].release(attempt, keep=False)
            raise
    except Reused:
        raise _reused() from None
    except Busy:
        raise _busy(request) from None
    except Answered as answered:
        kept = answered.kept
        return web.Response(status=kept.status, body=kept.content, headers={**kept.headers, REPLAYED: "true"})


async def settle_form(request: web.Request, parts: Iterable[str]) -> None:
    """Once a form has been read: as for JSON before the handler. Raises Answered and ApiError."""
    if ATTEMPT not in request:
        return
    try:
        await request.app[IDEMPOTENCY].settle(request[ATTEMPT], _digest(*(part.encode() for part in parts)))
    except Reused:
        raise _reused() from None
    except Busy:
        raise _busy(request) from None


async def let_others_in(request: web.Request) -> None:
    """From here on a duplicate need not wait: what was asked is done, and the answer is a stream of it."""
    if ATTEMPT in request:
        await request.app[IDEMPOTENCY].release(request[ATTEMPT], keep=True)


async def _try(request: web.Request, handler: Handler, attempt: Attempt, body: bytes | None) -> web.StreamResponse:
    once = request.app[IDEMPOTENCY]
    if body is not None and not (attempt.ours and not attempt.again):
        await once.settle(attempt, body)
    request[ATTEMPT] = attempt
    request[ORIGIN] = replace(origin(request), once=attempt.once)
    request[IDS] = SeededIds(attempt.once.seed)
    response = await handler(request)
    kept = attempt.kept or _kept(response)
    secret = response.headers.get("Cache-Control") == NO_STORE
    if kept is not None and 200 <= kept.status < 300 and not secret:
        await once.finish(attempt, kept)
    else:
        await once.release(attempt, keep=secret)
    return response


def _kept(response: web.StreamResponse) -> Kept | None:
    """The answer, where it is whole in memory and may be given again."""
    if not isinstance(response, web.Response) or not isinstance(response.body, bytes):
        return None
    return Kept(response.status, {str(name): value for name, value in response.headers.items()}, response.body)


def _token(request: web.Request) -> bytes:
    """Raises ApiError for a key that is none."""
    sent = request.headers.getall(HEADER)
    if len(sent) != 1 or not 0 < len(sent[0]) <= MAX_KEY or not (sent[0].isascii() and sent[0].isprintable()):
        message = f"Invalid '{HEADER}': send one, of 1 to {MAX_KEY} printable ASCII characters."
        raise ApiError(400, message, param=HEADER, code="invalid_idempotency_key")
    key = request[KEY]
    return _digest(key.project_id.encode(), key.id.encode(), sent[0].encode())


def _asked(request: web.Request) -> bytes:
    """What is asked but for the body."""
    version = request[WIRE].version if WIRE in request else ""
    return _digest(request.path_qs.encode(errors="surrogatepass"), version.encode())


async def _body(request: web.Request) -> bytes:
    """Of the decoded body. Raises ApiError as `json_body` does."""
    decoded = await json_body(request)
    try:
        return _digest(orjson.dumps(decoded, option=orjson.OPT_SORT_KEYS))
    except TypeError:  # nested too deeply to be written again
        return _digest(await raw_body(request))


def _digest(*parts: bytes) -> bytes:
    found = hashlib.sha256()
    for part in parts:
        found.update(b"%d:%b" % (len(part), part))
    return found.digest()


def _reused() -> ApiError:
    message = (
        f"This {HEADER} was used before for a request with another path or body. Use a new key for a new request;"
        " keys are kept for 24 hours."
    )
    return ApiError(400, message, param=HEADER, code="idempotency_key_reused")


def _busy(request: web.Request) -> ApiError:
    add_headers(request, {"retry-after": "1"})
    message = f"A request with this {HEADER} is still being worked on. Please try again."
    return ApiError(409, message, param=HEADER, code="idempotency_key_in_use")
