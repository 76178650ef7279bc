"""Distinguishing public hosts and addresses from those of private networks: pure.

Clients choose the URLs of webhooks and of images. Such a URL must not make the server, or the model server, connect to
its own machine, to machines in its network, or to a cloud's metadata service: neither through an IPv6 address that
contains an IPv4 address, nor through a notation of an address that looks like a name.
"""

from __future__ import annotations

import ipaddress
import re

from yarl import URL

_V4 = ipaddress.IPv4Address
_V6 = ipaddress.IPv6Address
# Addresses that gateways translate into the IPv4 address in their last 32 bits (RFC 6052), and the deprecated form.
_TRANSLATED = tuple(ipaddress.IPv6Network(net) for net in ("64:ff9b::/96", "::/96"))
# Networks that Python 3.11 still considers global: local translation, benchmarks, site-local, discarded packets.
_ALSO_PRIVATE = tuple(
    ipaddress.ip_network(net)
    for net in ("64:ff9b:1::/48", "2001::/23", "fec0::/10", "100::/64", "192.88.99.0/24", "192.0.0.0/24")
)
_DATA_IMAGE = re.compile(r"data:image/[a-z0-9][a-z0-9.+-]*[;,]", re.IGNORECASE)
# Characters that some programs remove from a URL and others keep, so that they see different hosts.
_AMBIGUOUS = re.compile(r"[\x00-\x20\x7f\\]")
_NAME = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?", re.IGNORECASE)
# A last label that makes the whole host an IPv4 address, in decimal, octal or hexadecimal (URL Standard, 3.5).
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.IGNORECASE)
# Domains that name this machine or a private network everywhere: RFC 6761, RFC 6762 with its appendix G, RFC 8375, and
# names of clusters.
_PRIVATE_DOMAINS = frozenset(
    {
        *("corp", "home", "home.arpa", "internal", "intranet", "lan", "local", "localdomain", "localhost", "private"),
        "svc",
    }
)


def is_public(address: str) -> bool:
    """Whether an address, in the form of getaddrinfo, is globally reachable. An invalid address is not public."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, _V6):
        embedded = _embedded_v4(ip)
        if embedded is not None:
            return is_public(str(embedded))
    if ip.is_multicast or ip.is_reserved or ip.is_unspecified or not ip.is_global:
        return False
    return not any(ip in net for net in _ALSO_PRIVATE if net.version == ip.version)


def is_public_host(host: str) -> bool:
    """Whether the host of a URL is a public address, or a name that may have one. Names are not resolved.

    `host` is in ASCII, an IPv6 address without brackets. Only the usual notation of an address is public: resolvers
    also accept 127.1, 2130706433, 0x7f.1 and 0177.0.0.1. A name without a dot, which a resolver completes by the
    domain of its own network, is not public.
    """
    if ":" in host:
        return is_public(host)
    if not _NAME.fullmatch(host):
        return False
    labels = host.lower().removesuffix(".").split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return is_public(host)
    domains = {".".join(labels[start:]) for start in range(len(labels))}
    return len(labels) > 1 and not domains & _PRIVATE_DOMAINS


def is_image_url(url: str) -> bool:
    """Whether the URL of an image has the scheme http, https or data:image, and a host unless it holds the image."""
    return _DATA_IMAGE.match(url) is not None or _http_host(url) is not None


def is_public_image_url(url: str) -> bool:
    """Whether the URL of an image holds the image, or leads to a host that `is_public_host`."""
    if _DATA_IMAGE.match(url):
        return True
    host = _http_host(url)
    return host is not None and is_public_host(host)


def _http_host(url: str) -> str | None:
    """Returns the host of an http(s) URL in ASCII, or None if it is no such URL."""
    if _AMBIGUOUS.search(url):
        return None
    try:
        parts = URL(url)
        has_port = parts.port is not None  # raises ValueError if it is no number
    except ValueError:
        return None
    return (parts.raw_host or None) if parts.scheme in ("http", "https") and has_port else None


def _embedded_v4(ip: _V6) -> _V4 | None:
    """Returns the IPv4 address to which packets for this address are delivered, if there is one."""
    if ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    if ip.sixtofour is not None:
        return ip.sixtofour
    if any(ip in net for net in _TRANSLATED):
        return _V4(int(ip) & 0xFFFF_FFFF)
    return None
