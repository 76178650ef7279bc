"""The console: its page and its files, and signing in and out."""

from __future__ import annotations

import asyncio

from aiohttp import hdrs, web

from events.envelope import Origin
from projections.keys import ApiKey
from service.console.sessions import SESSION_S, NewSession
from service.console.static_files import StaticFile, load_static_files
from service.http import auth, hosts
from service.http.bodies import parse_request
from service.http.client_facts import client_facts
from service.http.console_access import cookie_name, find_identity, require_known_host, require_own_page
from service.http.context import REQUEST_ID
from service.http.errors import ApiError
from service.http.responses import NO_STORE, answer
from service.http.services import ACTS, CONSOLE, SETTINGS
from service.wire.console import parse_sign_in, render_session

_HTML = "text/html"
_PAGE = "/console"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; font-src 'self';"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; frame-src 'none';"
    " require-trusted-types-for 'script'; trusted-types lit-html dompurify"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_REVALIDATE = "no-cache"
_FOR_GOOD = "private, max-age=31536000, immutable"


async def root(request: web.Request) -> web.Response:
    """Leads browsers to the console. Programs get the answer of a path that does not exist."""
    if _HTML in request.headers.get(hdrs.ACCEPT, "") and request.app[SETTINGS].has_console:
        return web.Response(status=302, headers={hdrs.LOCATION: _PAGE, hdrs.CACHE_CONTROL: NO_STORE})
    await auth.admit(request)
    raise web.HTTPNotFound


async def page(request: web.Request) -> web.Response:
    """Answers with the page, which every view of the console shares."""
    _require_console(request)
    found = await asyncio.to_thread(load_static_files)
    return _serve(request, found.page, _REVALIDATE)


async def view(request: web.Request) -> web.Response:
    """Answers with the page for the URL of a view, so that it can be shared and loaded again."""
    return await page(request)


async def asset(request: web.Request) -> web.Response:
    """Answers with a file of the console. Browsers keep those of the version that this server has."""
    _require_console(request)
    found = await asyncio.to_thread(load_static_files)
    file = found.assets.get(request.match_info["file"])
    if file is None:
        raise web.HTTPNotFound
    return _serve(request, file, _FOR_GOOD if request.match_info["version"] == found.version else _REVALIDATE)


async def session(request: web.Request) -> web.Response:
    """Answers with who is signed in."""
    _require_console(request)
    require_own_page(request)
    identity = await find_identity(request)
    if identity is None:
        raise ApiError(401, "You are not signed in, or the session is over.", code="signed_out")
    return _describe(identity.session_id, identity.key, identity.expires_at)


async def sign_in(request: web.Request) -> web.Response:
    """Begins a session with an API key, or with a link that a start printed for this machine."""
    _require_console(request)
    require_own_page(request)
    asked = await parse_request(request, parse_sign_in)
    if asked.link is not None:
        key = await request.app[CONSOLE].find_link_key(asked.link) if hosts.is_local(request) else None
        if key is None:
            auth.count_wrong_key(request, "token")
            message = "This sign-in link is over, or not good from here. Sign in with an API key, or start the server."
            raise ApiError(401, message, code="invalid_link")
        begun = await request.app[CONSOLE].begin_with_link(asked.link, key, _origin(request, key))
    else:
        key = await auth.find_key(request, (asked.api_key or "").strip())
        begun = await request.app[CONSOLE].begin(key, _origin(request, key))
    return _welcome(request, begun)


async def sign_out(request: web.Request) -> web.Response:
    """Ends the session, and removes its cookie."""
    _require_console(request)
    require_own_page(request)
    identity = await find_identity(request)
    if identity is not None:
        await request.app[CONSOLE].end(identity.session_id, _origin(request, identity.key))
    response = answer({"object": "console.session.ended"}, cache_control=NO_STORE)
    response.del_cookie(cookie_name(request), path="/")
    return response


def _welcome(request: web.Request, begun: NewSession) -> web.Response:
    found = begun.session
    response = _describe(found.session_id, found.key, found.expires_at)
    public_url = request.app[SETTINGS].public_url or ""
    response.set_cookie(
        cookie_name(request),
        begun.cookie,
        max_age=SESSION_S,
        path="/",
        secure=request.secure or public_url.startswith("https://"),
        httponly=True,
        samesite="Strict",
    )
    return response


def _describe(session_id: str, key: ApiKey, expires_at: int) -> web.Response:
    rendered = render_session(
        session_id=session_id,
        key_id=key.id,
        scope=key.scope,
        project_id=key.project_id,
        expires_at=expires_at,
        version=load_static_files().version,
    )
    return answer(rendered, cache_control=NO_STORE)


def _origin(request: web.Request, key: ApiKey) -> Origin:
    client = request.app[ACTS].clients.record(request[REQUEST_ID], client_facts(request))
    return Origin(project_id=key.project_id, actor=key.actor, request_id=request[REQUEST_ID], client=client)


def _require_console(request: web.Request) -> None:
    """Raises HTTPNotFound if the settings turn the console off, and ApiError if the Host is not this server."""
    if not request.app[SETTINGS].has_console:
        raise web.HTTPNotFound
    require_known_host(request)


def _serve(request: web.Request, file: StaticFile, cache: str) -> web.Response:
    headers = {**_HEADERS, hdrs.ETAG: file.etag, hdrs.CACHE_CONTROL: cache}
    if file.etag in request.headers.get(hdrs.IF_NONE_MATCH, ""):
        return web.Response(status=304, headers=headers)
    charset = None if file.media.startswith("font/") else "utf-8"
    response = web.Response(body=file.body, content_type=file.media, charset=charset, headers=headers)
    response.enable_compression()
    return response
