"""The process of the embedded embedding model: texts in, vectors out, over a socket that its parent alone reaches.

A connection carries one request: four bytes of length, then JSON {"texts": […], "query": bool}; and one answer: four
bytes of length, then the vectors as little-endian float32, one after the other. Whoever hangs up is worked for no more.

Documents take turns on as many threads as cores can be spared, at low priority; queries have a thread of their own, so
that a search waits for no indexing. Texts are embedded one by one: batches of them were no faster, measured, and took
five times the memory. The process ends when its parent does, and when nobody asked for a while.
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

# Word pieces of a text that the model takes at once, with its two marks; a longer text is the mean of its parts.
CAPACITY = 512
DIMENSIONS = 384
MAX_REQUEST = 16 * 1024 * 1024
_NOBODY = 65534


class Model:
    """all-MiniLM-L6-v2: mean of the last hidden states, scaled to length 1. Calls from several threads are fine."""

    def __init__(self, weights: Path, sha256: str) -> None:
        data = weights.read_bytes()
        if hashlib.sha256(data).hexdigest() != sha256:
            raise ValueError(f"{weights} is not the file it should be")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False  # it would keep what the longest text took
        self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        vocabulary = files("service.search.embed").joinpath("tokenizer.json.gz").read_bytes()
        self._tokenizer = Tokenizer.from_buffer(gzip.decompress(vocabulary))

    def embed(self, text: str) -> NDArray[np.float32]:
        found = self._tokenizer.encode(text, add_special_tokens=False).ids
        step = CAPACITY - 2
        parts = [self._run(found[at : at + step]) for at in range(0, max(1, len(found)), step)]
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


class Turns:
    """Who may compute: documents on a bounded number of threads, queries one at a time beside them."""

    def __init__(self, documents: int, nice: int) -> None:
        self.asked = time.monotonic()
        self.open = 0
        self._nice = nice
        self._lock = threading.Lock()
        self._documents = threading.BoundedSemaphore(documents)
        self._queries = threading.BoundedSemaphore(1)

    def serve(self, model: Model, connection: socket.socket) -> None:
        with self._lock:
            self.open += 1
        try:
            with connection, contextlib.suppress(OSError, ValueError, KeyError):
                connection.settimeout(60.0)
                asked = json.loads(_received(connection))
                turn = self._queries if asked["query"] else self._documents
                with turn:
                    if not asked["query"]:
                        with contextlib.suppress(OSError):
                            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), self._nice)
                    vectors = [model.embed(text).tobytes() for text in asked["texts"] if not _gone(connection)]
                    if not asked["query"]:
                        let_go()
                if len(vectors) == len(asked["texts"]):
                    connection.sendall(struct.pack("<I", sum(map(len, vectors))) + b"".join(vectors))
        finally:
            with self._lock:
                self.open -= 1
                self.asked = time.monotonic()


def let_go() -> None:
    """Gives freed memory back to the system: glibc would keep it, 60 MB of it after loading and more of long texts."""
    with contextlib.suppress(OSError, AttributeError):  # another C library has no such function
        ctypes.CDLL(None).malloc_trim(0)


def _received(connection: socket.socket) -> bytes:
    """One request. Raises ValueError for one that is too long or breaks off."""
    (length,) = struct.unpack("<I", _exactly(connection, 4))
    if length > MAX_REQUEST:
        raise ValueError("too long")
    return _exactly(connection, length)


def _exactly(connection: socket.socket, length: int) -> bytes:
    held = bytearray()
    while len(held) < length:
        piece = connection.recv(min(65_536, length - len(held)))
        if not piece:
            raise ValueError("broken off")
        held += piece
    return bytes(held)


def _gone(connection: socket.socket) -> bool:
    """The client sends nothing after its request, so whatever can be read is its end."""
    return bool(select.select([connection], [], [], 0)[0])


def main() -> None:
    """Serves until stdin ends."""
    settings: dict[str, Any] = json.loads(sys.stdin.readline())
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(settings["socket"])
    os.chmod(settings["socket"], 0o600)
    listening.listen(128)
    listening.settimeout(1.0)
    model = Model(Path(settings["weights"]), settings["sha256"])
    model.embed("The first run makes what the later ones use.")
    let_go()
    if settings["drop"]:
        # Everything is loaded; what reads the texts of strangers needs no rights from here on.
        with contextlib.suppress(OSError):  # a container may know no user but root
            os.setgroups([])
            os.setgid(_NOBODY)
            os.setuid(_NOBODY)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    threading.Thread(target=_die_with_parent, daemon=True).start()
    turns = Turns(settings["threads"], settings["nice"])
    while turns.open or time.monotonic() - turns.asked < settings["idle_s"]:
        with contextlib.suppress(TimeoutError):
            connection, _ = listening.accept()
            threading.Thread(target=turns.serve, args=(model, connection), daemon=True).start()
    os._exit(0)


def _die_with_parent() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
