"""The sockets at which a server listens. Several processes may accept connections at them."""

from __future__ import annotations

import socket
from collections.abc import Sequence

BACKLOG = 1024


def open_listeners(host: str, port: int) -> Sequence[socket.socket]:
    """Returns sockets that listen at all addresses of the host, at the same port, which is a free one for 0.

    Connections wait in their queues until a process accepts them. Raises OSError.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    listeners: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            try:
                listener = socket.socket(family, kind, protocol)
            except OSError:  # the system has no addresses of this family
                continue
            listeners.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind((address[0], port, *address[2:]))
            listener.listen(BACKLOG)
            listener.setblocking(False)
            port = listener.getsockname()[1]
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    return listeners
