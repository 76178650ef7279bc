"""Azure's forms of the same operations, for the SDKs' AzureOpenAI clients.

Paths begin with /openai instead of /v1 and carry `?api-version=`, which decides over OpenAI-Beta there: SDKs send their
own newest beta whatever the version asked for. Its newer form, /openai/v1, is /v1 under another name. The key comes in
the header `api-key`, or as a bearer token. A deployment is what the catalogue calls a model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from aiohttp import web

PREFIX = "/openai"
# The first api-version that speaks v2 of the Assistants API; dates compare as text.
FIRST_V2 = "2024-05-01"
_DATED = re.compile(r"\d{4}-\d{2}-\d{2}")


def routes(known: Iterable[web.RouteDef]) -> list[web.RouteDef]:
    """Azure's forms of those under /v1."""
    return [
        web.RouteDef(route.method, prefix + route.path.removeprefix("/v1"), route.handler, route.kwargs)
        for route in known
        if route.path.startswith("/v1/")
        for prefix in (PREFIX, PREFIX + "/v1")
    ]


def plain(path: str) -> str:
    """The path (or its pattern) as it is under /v1, whichever form it has."""
    for prefix in (PREFIX + "/v1/", PREFIX + "/"):
        if path.startswith(prefix):
            return "/v1/" + path.removeprefix(prefix)
    return path


def betas(request: web.Request) -> list[str]:
    """What `api-version` says in the words of OpenAI-Beta; nothing where it says nothing."""
    asked = request.query.get("api-version") if request.path.startswith(PREFIX + "/") else None
    if not asked or request.path.startswith(PREFIX + "/v1/"):
        return []
    return ["assistants=v1" if _DATED.match(asked) and asked[:10] < FIRST_V2 else "assistants=v2"]


def authorization(request: web.Request) -> str:
    """The key as the header Authorization holds it, whichever header it came in."""
    key = request.headers.get("api-key")
    return f"Bearer {key}" if key else request.headers.get("Authorization", "")
