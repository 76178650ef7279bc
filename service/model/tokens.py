"""Counting tokens, offline.

The vocabularies are package data: `token_data/<encoding>.txt.gz` holds the tokens in base64, one a line, by rank, from
the npm package tiktoken 1.0.22; a test proves that the file tiktoken would download, with the sha256 it expects, comes
out of them byte for byte. They are handed to tiktoken in memory, so nothing is downloaded and nothing written. Loading
costs 0.2–0.35 s and 25 (cl100k) or 43 MB (o200k): it happens at first use, once. `at_most` answers without it: a token
is one byte or more, so tokens never exceed UTF-8 bytes.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import threading
from importlib import resources
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    import tiktoken

EncodingName = Literal["cl100k_base", "o200k_base"]
ENCODINGS: tuple[EncodingName, ...] = get_args(EncodingName)
SLICE = 50_000  # characters given to tiktoken at once: its time grows faster than the text where nothing splits it

# As in tiktoken_ext.openai_public, which cannot be asked without downloading; a test compares them.
_CL100K = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|"
    r"\s+(?!\S)|\s"
)
_O200K = "|".join(
    (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)
PATTERNS: dict[EncodingName, str] = {"cl100k_base": _CL100K, "o200k_base": _O200K}


def vocabulary(encoding: EncodingName) -> list[bytes]:
    """The tokens in base64, by rank."""
    packed = resources.files("service.model").joinpath("token_data", f"{encoding}.txt.gz").read_bytes()
    return gzip.decompress(packed).split()


class Tokens:
    """Encodings, each loaded once. Methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loaded: dict[EncodingName, tiktoken.Encoding] = {}

    async def prepare(self, encoding: EncodingName) -> None:
        """Loads an encoding without blocking the loop."""
        if encoding not in self._loaded:
            await asyncio.to_thread(self._encoding, encoding)

    def count(self, encoding: EncodingName, text: str) -> int:
        """Tokens of `text`, names of special tokens in it counted as the text they are.

        Long texts are counted in slices: that may add a token a slice, never take one away that matters.
        """
        encode = self._encoding(encoding).encode_ordinary
        if len(text) <= SLICE:
            return len(encode(text))
        return sum(len(encode(text[at : at + SLICE])) for at in range(0, len(text), SLICE))

    def pieces(self, encoding: EncodingName, text: str) -> list[bytes]:
        """The bytes of each token, in order: together the UTF-8 of `text`. A character may be spread over several."""
        known = self._encoding(encoding)
        tokens = known.encode_ordinary_batch(
            [text[at : at + SLICE] for at in range(0, len(text), SLICE)], num_threads=1
        )
        return [piece for some in tokens for piece in known.decode_tokens_bytes(some)]

    def _encoding(self, name: EncodingName) -> tiktoken.Encoding:
        found = self._loaded.get(name)
        if found is None:
            with self._lock:  # the second caller waits for the first one's work
                found = self._loaded.get(name) or _load(name)
                self._loaded[name] = found
        return found


def at_most(text: str) -> int:
    """An upper bound of the tokens of `text` in any byte-level encoding: its UTF-8 bytes."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def _load(name: EncodingName) -> tiktoken.Encoding:
    import tiktoken  # here, because most processes never count

    ranks = {base64.b64decode(token): rank for rank, token in enumerate(vocabulary(name))}
    # Special tokens stay out: text that names one is ordinary text, from clients and models alike.
    encoding = tiktoken.Encoding(name, pat_str=PATTERNS[name], mergeable_ranks=ranks, special_tokens={})
    ranks.clear()  # tiktoken counts with a copy of its own, and would keep this one: a third of the memory
    return encoding
