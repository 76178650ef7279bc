"""The session of a browser as a credential, and what protects it from other pages.

A browser sends the cookie by itself, so a request with it must come from the console: SameSite=Strict keeps it from
other sites, and a header of its own, which no other origin may send, from other servers of the same host. The Host must
be known to be this server, so that a page whose name was rebound to it gets nothing.
"""

from __future__ import annotations

from aiohttp import hdrs, web

from service.console.identity import Identity
from service.http import azure, hosts
from service.http.errors import ApiError
from service.http.services import CONSOLE, SETTINGS

COOKIE = "everthread_session"
# A request of the console carries this header; its value says nothing.
HEADER = "Everthread-Console"
_SAME_ORIGIN = ("same-origin", "none")


def cookie_name(request: web.Request) -> str:
    """Returns the cookie's name. It ends in the port, since cookies of one host are shared by the servers on it."""
    found = request.transport.get_extra_info("sockname") if request.transport is not None else None
    return f"{COOKIE}_{found[1]}" if isinstance(found, tuple) and len(found) > 1 else COOKIE


def sent_cookie(request: web.Request) -> str | None:
    """Returns the cookie of a request that has no other credential; None if there is none, or no console."""
    if azure.authorization(request) or not request.app[SETTINGS].has_console or hdrs.COOKIE not in request.headers:
        return None
    return request.cookies.get(cookie_name(request))


async def find_identity(request: web.Request) -> Identity | None:
    """Returns who is signed in, None if no session is good. Raises ApiError if the request is not the console's own."""
    cookie = sent_cookie(request)
    if cookie is None:
        return None
    require_own_page(request)
    return await request.app[CONSOLE].find(cookie)


def require_own_page(request: web.Request) -> None:
    """Raises ApiError with status 403 if another page may have sent the request, and 421 if its Host is unknown."""
    require_known_host(request)
    origin = request.headers.get(hdrs.ORIGIN)
    is_foreign = origin is not None and origin.rpartition("//")[2].lower() != request.headers.get(hdrs.HOST, "").lower()
    if is_foreign or request.headers.get("Sec-Fetch-Site", "none") not in _SAME_ORIGIN or HEADER not in request.headers:
        message = "A session of the console is good for requests of the console alone. Programs send an API key."
        raise ApiError(403, message, code="not_from_console")


def require_known_host(request: web.Request) -> None:
    """Raises ApiError with status 421 if the Host is not known to be this server (DNS rebinding)."""
    if hosts.is_known(request):
        return
    sent = request.headers.get(hdrs.HOST, "")[: hosts.MAX_ECHO]
    message = (
        f"The console is not served under the Host '{sent}', because it is not known to be this server. Its operator"
        " can set EVERTHREAD_PUBLIC_URL to the address that people use."
    )
    raise ApiError(421, message, code="unknown_host")
