"""GET /openapi.json, and GET /docs: a page of the document that loads nothing from other servers."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

import orjson
from aiohttp import web

from service.http.context import ROUTE_TABLE
from service.http.route import Route

_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


async def openapi(request: web.Request) -> web.Response:
    """Answers with the document, which is made for the first request."""
    body = await asyncio.to_thread(_render_document, request.app[ROUTE_TABLE].routes)
    return web.Response(body=body, content_type="application/json")


@lru_cache(maxsize=1)
def _render_document(routes: tuple[Route, ...]) -> bytes:
    from service.http.openapi.document import document  # here, because start-up does not need it

    return orjson.dumps(document(routes))


async def docs(request: web.Request) -> web.Response:
    html, policy = _page()
    return web.Response(
        body=html, content_type="text/html", charset="utf-8", headers={"Content-Security-Policy": policy}
    )


@cache
def _page() -> tuple[bytes, str]:
    """Returns the page, and the policy that allows its own scripts and styles and no others."""
    html = (files(__package__) / "docs.html").read_text("utf-8")
    hashes: dict[str, Any] = {kind: _hash(text) for kind, text in _INLINE.findall(html)}
    policy = (
        f"default-src 'none'; script-src '{hashes['script']}'; style-src '{hashes['style']}'; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return html.encode(), policy


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
