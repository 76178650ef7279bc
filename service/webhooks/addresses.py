"""Distinguishing public addresses from those of private networks: pure.

Clients choose the URLs of webhooks. Such a URL must not make the server connect to its own machine, to machines in its
network, or to a cloud's metadata service, not even through an IPv6 address that contains an IPv4 address.
"""

from __future__ import annotations

import ipaddress

_V4 = ipaddress.IPv4Address
_V6 = ipaddress.IPv6Address
# Addresses that gateways translate into the IPv4 address in their last 32 bits (RFC 6052), and the deprecated form.
_TRANSLATED = tuple(ipaddress.IPv6Network(net) for net in ("64:ff9b::/96", "::/96"))
# Networks that Python 3.11 still considers global: local translation, benchmarks, site-local, discarded packets.
_ALSO_PRIVATE = tuple(
    ipaddress.ip_network(net)
    for net in ("64:ff9b:1::/48", "2001::/23", "fec0::/10", "100::/64", "192.88.99.0/24", "192.0.0.0/24")
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


def _embedded_v4(ip: _V6) -> _V4 | None:
    """Returns the IPv4 address to which packets for this address are delivered, if there is one."""
    if ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    if ip.sixtofour is not None:
        return ip.sixtofour
    if any(ip in net for net in _TRANSLATED):
        return _V4(int(ip) & 0xFFFF_FFFF)
    return None
