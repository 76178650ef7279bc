"""The process of an embedded embedding model: receives texts and returns vectors over a Unix socket of its parent.

A connection carries one request (four bytes of length, then JSON {"texts": […], "query": bool}) and one answer (four
bytes of length, then the vectors as little-endian float32, one after the other). If the client hangs up, the rest of
its texts are not embedded.

Documents share a number of threads at low priority. Queries have a thread of their own, so that a search does not wait
for indexing. Texts are embedded singly: in measurements batches were no faster and took five times the memory. So there
is no padding, and no model needs an attention mask.

The process ends when its parent ends, and when it has had no request for a while.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import socket
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any

from service.search.embed import wheels
from service.search.embed.text_model import TextModel

MAX_REQUEST = 16 * 1024 * 1024
# Seconds between two releases of memory while requests follow each other. A release takes 30 ms, also for the texts
# after it.
RELEASE_EVERY_S = 5.0


class RequestServer:
    """Answers requests, each in a thread of its own; semaphores bound the threads that compute.

    Documents are embedded on at most `documents` threads, queries one at a time beside them.
    """

    def __init__(self, documents: int, nice: int) -> None:
        self.connections = 0
        self.last_used = time.monotonic()
        self._last_release = 0.0
        self._nice = nice
        self._lock = threading.Lock()
        self._documents = threading.BoundedSemaphore(documents)
        self._queries = threading.BoundedSemaphore(1)

    def serve(self, model: TextModel, connection: socket.socket) -> None:
        with self._lock:
            self.connections += 1
        try:
            with connection, contextlib.suppress(OSError, ValueError, KeyError):
                connection.settimeout(60.0)
                request = json.loads(_read_request(connection))
                semaphore = self._queries if request["query"] else self._documents
                with semaphore:
                    if not request["query"]:
                        with contextlib.suppress(OSError):
                            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), self._nice)
                    vectors = [
                        model.embed(text, query=request["query"]).tobytes()
                        for text in request["texts"]
                        if not _has_hung_up(connection)
                    ]
                    if not request["query"]:
                        self._release_memory()
                if len(vectors) == len(request["texts"]):
                    connection.sendall(struct.pack("<I", sum(map(len, vectors))) + b"".join(vectors))
        finally:
            with self._lock:
                self.connections -= 1
                self.last_used = time.monotonic()

    def _release_memory(self) -> None:
        """Releases freed memory if no other request is served, and now and then if others are."""
        now = time.monotonic()
        with self._lock:
            if self.connections > 1 and now < self._last_release + RELEASE_EVERY_S:
                return
            self._last_release = now
        release_memory()


def release_memory() -> None:
    """Returns freed memory to the system. glibc would keep it: 60 MB after loading, and more after long texts."""
    with contextlib.suppress(OSError, AttributeError):  # other C libraries lack malloc_trim
        ctypes.CDLL(None).malloc_trim(0)


def _read_request(connection: socket.socket) -> bytes:
    """Reads one request. Raises ValueError if it is too long or incomplete."""
    (length,) = struct.unpack("<I", _read_exactly(connection, 4))
    if length > MAX_REQUEST:
        raise ValueError("too long")
    return _read_exactly(connection, length)


def _read_exactly(connection: socket.socket, length: int) -> bytes:
    buffer = bytearray()
    while len(buffer) < length:
        piece = connection.recv(min(65_536, length - len(buffer)))
        if not piece:
            raise ValueError("broken off")
        buffer += piece
    return bytes(buffer)


def _has_hung_up(connection: socket.socket) -> bool:
    """Whether the client has closed the connection. A client sends nothing after its request, so a readable socket
    means that it has."""
    return bool(select.select([connection], [], [], 0)[0])


def open_model(name: str, weights: Path, sha256: str) -> TextModel:
    """Returns the model of that name. Only its own libraries are imported. Raises ValueError if the file is damaged."""
    if name == wheels.MULTILINGUAL.name:
        from service.search.embed.e5.model import E5Model

        return E5Model(weights, sha256)
    from service.search.embed.minilm_model import MiniLMModel

    return MiniLMModel(weights, sha256)


def main() -> None:
    """Serves requests until stdin ends or the process has been idle for `idle_s` seconds."""
    settings: dict[str, Any] = json.loads(sys.stdin.readline())
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(settings["socket"])
    os.chmod(settings["socket"], 0o600)
    listening.listen(128)
    listening.settimeout(1.0)
    model = open_model(settings["model"], Path(settings["weights"]), settings["sha256"])
    model.embed("The first run makes what the later ones use.", query=False)  # the first call allocates lasting buffers
    release_memory()
    if settings["uid"] is not None:
        # Everything is loaded, and the code that reads strangers' texts needs no privileges from here on.
        with contextlib.suppress(OSError):  # a container may not have this id
            os.setgroups([])
            os.setgid(settings["uid"])
            os.setuid(settings["uid"])
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    threading.Thread(target=_die_with_parent, daemon=True).start()
    server = RequestServer(settings["threads"], settings["nice"])
    while server.connections or time.monotonic() - server.last_used < settings["idle_s"]:
        with contextlib.suppress(TimeoutError):
            connection, _ = listening.accept()
            threading.Thread(target=server.serve, args=(model, connection), daemon=True).start()
    os._exit(0)


def _die_with_parent() -> None:
    """Ends the process when stdin ends."""
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
