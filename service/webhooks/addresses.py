"""Decides if an address is public, or belongs to this network or machine. Pure.

The URL of a webhook comes from a client. It must not make the server connect to its own machine, its neighbours, or a
cloud's metadata service, nor do so through an IPv6 address that embeds an IPv4 address.
"""

from __future__ import annotations

import ipaddress

_V4 = ipaddress.IPv4Address
_V6 = ipaddress.IPv6Address
# Prefixes that gateways translate to the IPv4 address in the last 32 bits (RFC 6052), and the older form.
_TRANSLATED = tuple(ipaddress.IPv6Network(net) for net in ("64:ff9b::/96", "::/96"))
# Ranges that Python 3.11 wrongly takes for public: translation within a site, benchmarks, site-local, discard.
_ALSO_PRIVATE = tuple(
    ipaddress.ip_network(net)
    for net in ("64:ff9b:1::/48", "2001::/23", "fec0::/10", "100::/64", "192.88.99.0/24", "192.0.0.0/24")
)


def is_public(address: str) -> bool:
    """Returns whether an address, in the form of getaddrinfo, is reachable from everywhere and is nothing else."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, _V6):
        inner = _inside(found)
        if inner is not None:
            return is_public(str(inner))
    if found.is_multicast or found.is_reserved or found.is_unspecified or not found.is_global:
        return False
    return not any(found in net for net in _ALSO_PRIVATE if net.version == found.version)


def _inside(found: _V6) -> _V4 | None:
    """Returns the IPv4 address at which packets to this IPv6 address arrive, or the address itself."""
    if found.ipv4_mapped is not None:
        return found.ipv4_mapped
    if found.sixtofour is not None:
        return found.sixtofour
    if any(found in net for net in _TRANSLATED):
        return _V4(int(found) & 0xFFFF_FFFF)
    return None
