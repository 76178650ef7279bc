"""Authentication: finds the key of a request, and checks its scope and its limits."""

from __future__ import annotations

import math
from collections.abc import Mapping

from aiohttp import web

from events.api_key import Scope as KeyScope
from events.installation import Credential
from projections.keys import ApiKey
from service.http import azure, rate_limits
from service.http.client_facts import client_facts
from service.http.connections import peer_name
from service.http.console_access import find_identity
from service.http.context import GRANT, REQUEST_ID, ROUTE
from service.http.errors import ApiError
from service.http.responses import add_headers
from service.http.route import Scope, SignedToken
from service.http.services import ACCESS, ACTS

_READING = ("GET", "HEAD")
# The headers by which programs name their account at the original, and which they read back.
_ECHOED = ("openai-organization", "openai-project")
_MAX_ECHOED = 256
# The operations that a key of each scope may use, by the scope that they need.
_PERMITTED: Mapping[KeyScope, frozenset[Scope]] = {
    "full": frozenset({"read", "audit", "fork", "full"}),
    "read": frozenset({"read"}),
    "audit": frozenset({"audit"}),
    "audit:content": frozenset({"read", "audit", "fork"}),
    "admin": frozenset({"read", "audit", "fork", "full", "admin"}),
}
_REQUIRED: Mapping[Scope, str] = {
    "full": "'full' or 'admin'",
    "read": "'read', 'audit:content', 'full' or 'admin'",
    "audit": "'audit', 'audit:content', 'full' or 'admin'",
    "admin": "'admin'",
    "fork": "'audit:content', 'full' or 'admin'",
}


async def admit(request: web.Request) -> ApiKey:
    """Returns the key of the request, if it may go on. Raises ApiError with status 401, 403 or 429."""
    _echo(request)
    key = await _find_key(request)
    if (scope := _scope(request)) not in _PERMITTED[key.scope]:
        message = (
            f"You have insufficient permissions for this operation. The API key has the scope '{key.scope}'; this"
            f" operation needs the scope {_REQUIRED[scope]}."
        )
        raise ApiError(403, message)
    rate_limits.admit(request, key)
    return key


def _scope(request: web.Request) -> Scope:
    """Returns the scope that the request needs. If it matches no route, it would be refused after this anyway."""
    if ROUTE in request:
        return request[ROUTE].scope
    return "read" if request.method in _READING else "full"


async def _find_key(request: web.Request) -> ApiKey:
    if _has_token(request):
        return await _key_of_token(request)
    if (identity := await find_identity(request)) is not None:
        return identity.key
    scheme, _, sent = azure.authorization(request).partition(" ")
    sent = sent.strip()
    if scheme.lower() != "bearer" or not sent:
        message = (
            "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer"
            " auth (i.e. Authorization: Bearer YOUR_KEY)."
        )
        raise ApiError(401, message)
    return await find_key(request, sent)


async def find_key(request: web.Request, sent: str) -> ApiKey:
    """Returns the key whose secret is `sent`. Raises ApiError with status 401 or 429, and counts the wrong key."""
    access = request.app[ACCESS]
    key = access.keys.find_cached(sent)
    if key is not None:
        return key
    async with access.wrong_keys.lookup(_peer(request)):
        key = await access.keys.find(sent)
    if key is None:
        count_wrong_key(request, "key")
        masked = f"{sent[:3]}{'*' * 8}{sent[-4:]}" if len(sent) > 12 else "*" * len(sent)
        raise ApiError(401, f"Incorrect API key provided: {masked}.", code="invalid_api_key")
    return key


def _has_token(request: web.Request) -> bool:
    """Whether the request has a token in its URL, and no key."""
    return "token" in request.query and request.method in _READING and not azure.authorization(request)


async def _key_of_token(request: web.Request) -> ApiKey:
    """Returns the key under which the token was made. Raises ApiError with status 401 if it is not for this route."""
    access = request[ROUTE].access if ROUTE in request else "key"
    if isinstance(access, SignedToken):
        object_id = request.match_info[access.parameter]
        async with request.app[ACCESS].wrong_keys.lookup(_peer(request)):
            grant = await request.app[ACCESS].signer.check(access.purpose, object_id, request.query["token"])
        if grant is not None:
            request[GRANT] = grant
            return grant.key
        count_wrong_key(request, "token")
    raise ApiError(401, "The token in the URL is not good for this, or its time is over.", code="invalid_token")


def count_wrong_key(request: web.Request, credential: Credential) -> None:
    """Counts a wrong key or token of the request's address. Raises ApiError with status 429 if there were too many."""
    request.app[ACTS].count_failed_sign_in(credential, _peer(request), request[REQUEST_ID], client_facts(request))
    wait = request.app[ACCESS].wrong_keys.count(_peer(request))
    if wait is None:
        return
    seconds = math.ceil(wait)
    add_headers(request, {"retry-after": str(seconds)})
    message = (
        f"Too many requests with a wrong API key or token came from your address. Please try again in {seconds}s with"
        " another key."
    )
    raise ApiError(429, message, code="too_many_wrong_keys", kind="requests")


def _peer(request: web.Request) -> str:
    """Returns the name under which wrong keys of the request's address are counted."""
    peername = request.transport.get_extra_info("peername") if request.transport is not None else None
    return peer_name(peername) or "loopback"


def _echo(request: web.Request) -> None:
    for name in _ECHOED:
        sent = request.headers.get(name)
        if sent and len(sent) <= _MAX_ECHOED and sent.isascii() and sent.isprintable():
            add_headers(request, {name: sent})
