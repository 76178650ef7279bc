"""The Host of a request: whether it is local, and the address that links begin with.

A client can send any Host, and a proxy may pass on what a stranger sent. A link holds a credential, so it never leads
to a host that is not known to be this server.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from service.http.errors import ApiError
from service.http.services import SETTINGS

MAX_ECHO = 100  # characters of a Host that an error repeats
# The headers of a proxy on this machine, whose requests may come from other machines; and how others of them begin.
_FORWARDED = frozenset(
    {"forwarded", "via", "x-real-ip", "x-client-ip", "x-cluster-client-ip", "true-client-ip", "cf-connecting-ip"}
)
_X_FORWARDED = "x-forwarded-"
# An IPv6 address in brackets, or a name or IPv4 address; then the port.
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+))(?::[0-9]{0,5})?")


def is_local(request: web.Request) -> bool:
    """Returns whether the peer and the Host are local.

    The peer alone is not enough: a browser on this machine sends the requests of a page whose name was rebound to it.
    """
    if any(name.lower() in _FORWARDED or name.lower().startswith(_X_FORWARDED) for name in request.headers):
        return False
    peer, host = _address(request, "peername"), _host(request)
    return peer is not None and host is not None and is_loopback(peer) and is_loopback(host)


def link_base(request: web.Request) -> str:
    """Returns the address that links begin with: EVERTHREAD_PUBLIC_URL, else the Host of the request.

    Raises ApiError with status 400 if there is no such setting and the Host is not known to be this server: neither
    loopback, nor the address that the connection came to, nor the name of this machine.
    """
    public_url = request.app[SETTINGS].public_url
    if public_url is not None:
        return public_url
    if not is_known(request):
        sent = request.headers.get(hdrs.HOST, "")[:MAX_ECHO]
        message = (
            f"No link can be made, because the Host '{sent}' is not known to be this server. Its operator can set"
            " EVERTHREAD_PUBLIC_URL to the address that clients use."
        )
        raise ApiError(400, message, code="unknown_host")
    return f"{request.scheme}://{request.headers[hdrs.HOST]}"


def is_known(request: web.Request) -> bool:
    """Returns whether the Host is known to be this server.

    It is if it is loopback, the address that the connection came to, the name of this machine, or the host of
    EVERTHREAD_PUBLIC_URL.
    """
    host = _host(request)
    if host is None:
        return False
    public_url = request.app[SETTINGS].public_url
    if public_url is not None and urlsplit(public_url).hostname == host.lower():
        return True
    return is_loopback(host) or _is_own(request, host)


def _host(request: web.Request) -> str | None:
    """Returns the Host without its port and brackets, or None if it is missing or no host."""
    found = _HOST.fullmatch(request.headers.get(hdrs.HOST, ""))
    return None if found is None else found[1] or found[2]


def _is_own(request: web.Request, host: str) -> bool:
    name = host.lower().removesuffix(".")
    if name == socket.gethostname().lower():
        return True
    try:
        return _address(request, "sockname") == str(ipaddress.ip_address(name))
    except ValueError:
        return False


def _address(request: web.Request, end: str) -> str | None:
    """Returns the address of an end of the connection, in its usual form; `end` is "peername" or "sockname"."""
    found = request.transport.get_extra_info(end) if request.transport is not None else None
    if not isinstance(found, tuple) or not found:
        return None
    try:
        address = ipaddress.ip_address(str(found[0]).partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def is_loopback(host: str) -> bool:
    """Returns whether the host is `localhost` or a loopback address."""
    if host.lower().removesuffix(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
