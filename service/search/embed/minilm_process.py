"""The process of the embedded embedding model: receives texts and returns vectors over a Unix socket of its parent.

A connection carries one request (four bytes of length, then JSON {"texts": […], "query": bool}) and one answer (four
bytes of length, then the vectors as little-endian float32, one after the other). If the client hangs up, the rest of
its texts are not embedded.

Documents share a number of threads at low priority. Queries have a thread of their own, so that a search does not wait
for indexing. Texts are embedded singly: in measurements batches were no faster and took five times the memory. So there
is no padding, and the model runs without its attention mask.

The process ends when its parent ends, and when it has had no request for a while.
"""

from __future__ import annotations

import contextlib
import ctypes
import gzip
import hashlib
import json
import os
import select
import socket
import struct
import sys
import threading
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from service.search.embed.onnx_graph import remove_attention_mask

# Word pieces that the model takes at once, including its two markers. The vector of a longer text is the mean of the
# vectors of its parts.
CAPACITY = 512
DIMENSIONS = 384
MAX_REQUEST = 16 * 1024 * 1024
# Seconds between two releases of memory while requests follow each other. A release takes 30 ms, also for the texts
# after it.
RELEASE_EVERY_S = 5.0


class MiniLMModel:
    """all-MiniLM-L6-v2: the mean of the last hidden states, scaled to length 1. Safe to call from several threads."""

    def __init__(self, weights: Path, sha256: str) -> None:
        data = weights.read_bytes()
        if hashlib.sha256(data).hexdigest() != sha256:
            raise ValueError(f"{weights} is not the file it should be")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False  # an arena would keep the memory of the longest text
        options.log_severity_level = 3  # errors, and not that values of the mask are unused
        data = remove_attention_mask(data)
        self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        vocabulary = files("service.search.embed").joinpath("tokenizer.json.gz").read_bytes()
        self._tokenizer = Tokenizer.from_buffer(gzip.decompress(vocabulary))

    def embed(self, text: str) -> NDArray[np.float32]:
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        step = CAPACITY - 2
        parts = [self._run(ids[at : at + step]) for at in range(0, max(1, len(ids)), step)]
        return _unit(np.mean(parts, axis=0)) if len(parts) > 1 else parts[0]

    def _run(self, ids: list[int]) -> NDArray[np.float32]:
        tokens = np.array([[101, *ids, 102]], dtype=np.int64)  # [CLS] and [SEP]
        ones = np.ones_like(tokens)
        feed = {"input_ids": tokens, "attention_mask": ones, "token_type_ids": np.zeros_like(tokens)}
        states: NDArray[np.float32] = self._session.run(None, feed)[0]
        return _unit(states[0].mean(axis=0))


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    scaled: NDArray[np.float32] = (vector / max(float(np.linalg.norm(vector)), 1e-12)).astype("<f4")
    return scaled


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

    def serve(self, model: MiniLMModel, connection: socket.socket) -> None:
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
                    vectors = [model.embed(text).tobytes() for text in request["texts"] if not _has_hung_up(connection)]
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


def main() -> None:
    """Serves requests until stdin ends or the process has been idle for `idle_s` seconds."""
    settings: dict[str, Any] = json.loads(sys.stdin.readline())
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(settings["socket"])
    os.chmod(settings["socket"], 0o600)
    listening.listen(128)
    listening.settimeout(1.0)
    model = MiniLMModel(Path(settings["weights"]), settings["sha256"])
    model.embed("The first run makes what the later ones use.")  # the first call allocates lasting buffers
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
