"""Which addresses are the world's, and which belong to this network: pure.

A webhook's URL is a client's word. It must not make the server talk to its own machine, its neighbours, or a cloud's
metadata service; nor by way of an IPv6 address that holds an IPv4 one.
"""

from __future__ import annotations

import ipaddress

_V4 = ipaddress.IPv4Address
_V6 = ipaddress.IPv6Address
# What gateways translate into the IPv4 address of the last 32 bits (RFC 6052), and the old form of that.
_TRANSLATED = tuple(ipaddress.IPv6Network(net) for net in ("64:ff9b::/96", "::/96"))
# What Python's tables of 3.11 still take for the world's: translation within a site, benchmarks, sites, discarded.
_ALSO_PRIVATE = tuple(
    ipaddress.ip_network(net)
    for net in ("64:ff9b:1::/48", "2001::/23", "fec0::/10", "100::/64", "192.88.99.0/24", "192.0.0.0/24")
)


def is_public(address: str) -> bool:
    """Whether an address (as getaddrinfo writes it) is reachable from everywhere, and nothing but that."""
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
    """The IPv4 address that packets to this one end up at."""
    if found.ipv4_mapped is not None:
        return found.ipv4_mapped
    if found.sixtofour is not None:
        return found.sixtofour
    if any(found in net for net in _TRANSLATED):
        return _V4(int(found) & 0xFFFF_FFFF)
    return None
