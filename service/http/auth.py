"""Whose request it is, and whether they may ask it: the key, its project, its scope, its limits."""

from __future__ import annotations

from aiohttp import web

from projections.keys import ApiKey
from service.http import azure, limits
from service.http.deps import deps
from service.http.errors import ApiError

_READING = ("GET", "HEAD")
# What programs send to name their account there, and read back.
_ECHOED = ("openai-organization", "openai-project")
_MAX_ECHOED = 256


async def admit(request: web.Request) -> ApiKey:
    """The key of a request that may go on. Raises ApiError: 401, 403 or 429."""
    _echo(request)
    key = await _key(request)
    if key.scope != "full" and request.method not in _READING:
        message = (
            f"You have insufficient permissions for this operation. The API key has the scope '{key.scope}', which"
            " reads only; this operation needs the scope 'full'."
        )
        raise ApiError(403, message)
    limits.admit(request, key)
    return key


async def _key(request: web.Request) -> ApiKey:
    scheme, _, sent = azure.authorization(request).partition(" ")
    sent = sent.strip()
    if scheme.lower() != "bearer" or not sent:
        message = (
            "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer"
            " auth (i.e. Authorization: Bearer YOUR_KEY)."
        )
        raise ApiError(401, message)
    key = await deps(request).keys.find(sent)
    if key is None:
        shown = f"{sent[:3]}{'*' * 8}{sent[-4:]}" if len(sent) > 12 else "*" * len(sent)
        raise ApiError(401, f"Incorrect API key provided: {shown}.", code="invalid_api_key")
    return key


def _echo(request: web.Request) -> None:
    for name in _ECHOED:
        sent = request.headers.get(name)
        if sent and len(sent) <= _MAX_ECHOED and sent.isascii() and sent.isprintable():
            limits.extra(request, {name: sent})
