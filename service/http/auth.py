"""Whose request it is, and whether they may ask it: the key, its project, its scope, its limits."""

from __future__ import annotations

from aiohttp import web

from projections.keys import ApiKey
from service.access.signed_tokens import Purpose
from service.http import azure, rate_limits
from service.http.context import GRANT, deps
from service.http.errors import ApiError

_READING = ("GET", "HEAD")
# What tokens open: for each path what the token must be for, and the id that it must name.
SIGNED: dict[str, tuple[Purpose, str]] = {
    "/v1/threads/{thread_id}/stream": ("stream", "thread_id"),
    "/v1/files/{file_id}/content": ("file", "file_id"),
}
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
    rate_limits.admit(request, key)
    return key


async def _key(request: web.Request) -> ApiKey:
    if _by_token(request):
        return await _granted(request)
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


def _by_token(request: web.Request) -> bool:
    """Whether the request comes with a token in its URL, and with nothing better."""
    return "token" in request.query and request.method in _READING and not azure.authorization(request)


async def _granted(request: web.Request) -> ApiKey:
    """The key under which the token was made, where this is what it is for. Raises ApiError with status 401."""
    resource = request.match_info.route.resource
    opened = SIGNED.get(azure.plain(resource.canonical)) if resource is not None else None
    if opened is not None:
        purpose, name = opened
        grant = await deps(request).signer.check(purpose, request.match_info[name], request.query["token"])
        if grant is not None:
            request[GRANT] = grant
            return grant.key
    raise ApiError(401, "The token in the URL is not good for this, or its time is over.", code="invalid_token")


def _echo(request: web.Request) -> None:
    for name in _ECHOED:
        sent = request.headers.get(name)
        if sent and len(sent) <= _MAX_ECHOED and sent.isascii() and sent.isprintable():
            rate_limits.extra(request, {name: sent})
