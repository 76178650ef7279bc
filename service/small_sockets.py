"""Sockets for servers that may be hostile: witnesses, time stamp authorities, and receivers of webhooks.

aiohttp parses all that has arrived in one turn of the event loop, and skips any number of informational answers (such
as 102). A server that sends them without end would hold up the loop for half a second at a time.
"""

from __future__ import annotations

import socket
from typing import Any

import aiohttp

# Bytes that the kernel holds for a connection, so that a turn of the event loop parses: about 600 of the shortest
# answers. Linux gives a connection twice as many as are asked for.
RECEIVE_BYTES = 8 * 1024


def open_small_socket(address: tuple[Any, ...]) -> socket.socket:
    """Returns a socket for an address of `getaddrinfo` that receives few bytes at a time: a factory for aiohttp."""
    family, kind, protocol = address[:3]
    opened = socket.socket(family, kind, protocol)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
    return opened


def open_connector() -> aiohttp.TCPConnector:
    """Returns a connector for one session with such sockets."""
    return aiohttp.TCPConnector(socket_factory=open_small_socket)
