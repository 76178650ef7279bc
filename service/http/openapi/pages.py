"""GET /openapi.json and GET /docs, a page of it that asks nothing of other servers. Neither needs a key."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import orjson
from aiohttp import web

from service.http.errors import Handler

_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


def routes(known: Iterable[web.RouteDef]) -> Sequence[web.RouteDef]:
    """The two routes, for a document of `known` and of themselves."""
    told: list[web.RouteDef] = []
    own = [web.get("/openapi.json", _document_of(told)), web.get("/docs", docs)]
    told += [*known, *own]
    return own


def _document_of(told: Sequence[web.RouteDef]) -> Handler:
    made: list[bytes] = []

    async def openapi(request: web.Request) -> web.Response:
        if not made:
            made.append(await asyncio.to_thread(_made, told))
        return web.Response(body=made[0], content_type="application/json")

    return openapi


def _made(told: Sequence[web.RouteDef]) -> bytes:
    """Imports what it needs when somebody first asks."""
    from service.http.openapi.document import document

    # An Azure form of a route is the same operation under another path.
    return orjson.dumps(document(route for route in told if not route.path.startswith("/openai/")))


async def docs(request: web.Request) -> web.Response:
    html, policy = _page()
    return web.Response(
        body=html, content_type="text/html", charset="utf-8", headers={"Content-Security-Policy": policy}
    )


@cache
def _page() -> tuple[bytes, str]:
    """The page, and the policy that lets run what is in it and nothing else."""
    html = (files(__package__) / "docs.html").read_text("utf-8")
    hashes: dict[str, Any] = {kind: _hash(text) for kind, text in _INLINE.findall(html)}
    policy = (
        f"default-src 'none'; script-src '{hashes['script']}'; style-src '{hashes['style']}'; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return html.encode(), policy


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
