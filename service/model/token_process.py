"""The process that divides texts into tokens: it reads requests from the socket at standard input, and answers there.

A request is REQUEST (the position of the encoding in ENCODINGS, and the number of bytes), then a text in UTF-8. An
answer is ANSWER (the number of tokens), then the number of bytes of each token, as 16 bits in the machine's order. The
process ends when the socket is closed, and after the seconds of its only argument without a request.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
from array import array
from functools import cache
from typing import TYPE_CHECKING

from service.model.vocabularies import PATTERNS, load_encoding

if TYPE_CHECKING:
    import tiktoken

ENCODINGS = tuple(PATTERNS)
REQUEST = struct.Struct("<BI")
ANSWER = struct.Struct("<I")
LENGTH_BYTES = array("H").itemsize


def read_exactly(connection: socket.socket, length: int) -> bytes:
    """Reads so many bytes. Raises EOFError if the socket ends before, and TimeoutError after the socket's time-out."""
    found = bytearray()
    while len(found) < length:
        piece = connection.recv(min(length - len(found), 65_536))
        if not piece:
            raise EOFError
        found += piece
    return bytes(found)


def _serve(connection: socket.socket) -> None:
    while True:
        position, length = REQUEST.unpack(read_exactly(connection, REQUEST.size))
        encoding = _encoding(position)
        tokens = encoding.encode_ordinary(read_exactly(connection, length).decode())
        lengths = array("H", map(len, encoding.decode_tokens_bytes(tokens)))
        connection.sendall(ANSWER.pack(len(tokens)) + lengths.tobytes())


@cache
def _encoding(position: int) -> tiktoken.Encoding:
    return load_encoding(ENCODINGS[position])


def main() -> None:
    with socket.socket(fileno=sys.stdin.fileno()) as connection, contextlib.suppress(EOFError, OSError):
        connection.settimeout(float(sys.argv[1]))
        _serve(connection)


if __name__ == "__main__":
    main()
