"""Counting tokens, offline.

The vocabularies are package data: `token_data/<encoding>.txt.gz` holds the tokens in base64, a token on each line,
ordered by rank, from the npm package tiktoken 1.0.22. A test checks that they reproduce, byte for byte, the file that
tiktoken would download. They are passed to tiktoken in memory, so nothing is downloaded or written. Loading takes
0.2–0.35 s and 25 MB (cl100k) or 43 MB (o200k), once in a process. It holds the interpreter for most of that time, so a
server loads the encodings when it has started (`Router.load_encodings`). `token_bound` needs no vocabulary: a token has
at least one byte, so there are never more tokens than UTF-8 bytes.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import threading
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import tiktoken

EncodingName = Literal["cl100k_base", "o200k_base"]
SLICE = 50_000  # characters passed to tiktoken at once; its time is not linear in text without word borders

# The patterns of tiktoken_ext.openai_public, which cannot be read from there without a download; a test compares them.
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
    """Returns the tokens in base64, ordered by rank."""
    packed = resources.files("service.model").joinpath("token_data", f"{encoding}.txt.gz").read_bytes()
    return gzip.decompress(packed).split()


class Tokens:
    """The encodings, each loaded once. All methods are safe to call from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loaded: dict[EncodingName, tiktoken.Encoding] = {}

    async def prepare(self, encoding: EncodingName) -> None:
        """Loads an encoding without blocking the event loop."""
        if encoding not in self._loaded:
            await asyncio.to_thread(self._encoding, encoding)

    def count(self, encoding: EncodingName, text: str) -> int:
        """Returns the number of tokens of `text`; names of special tokens count as ordinary text.

        A long text is counted in slices, which may add a token for each slice.
        """
        encode = self._encoding(encoding).encode_ordinary
        if len(text) <= SLICE:
            return len(encode(text))
        return sum(len(encode(text[at : at + SLICE])) for at in range(0, len(text), SLICE))

    def token_bytes(self, encoding: EncodingName, text: str) -> list[bytes]:
        """Returns the bytes of each token, in order. Joined they are the UTF-8 of `text`; a character may be divided
        between tokens."""
        loaded = self._encoding(encoding)
        slices = [text[at : at + SLICE] for at in range(0, len(text), SLICE)]
        tokens = loaded.encode_ordinary_batch(slices, num_threads=1)
        return [piece for of_slice in tokens for piece in loaded.decode_tokens_bytes(of_slice)]

    def _encoding(self, name: EncodingName) -> tiktoken.Encoding:
        loaded = self._loaded.get(name)
        if loaded is None:
            with self._lock:  # a second caller waits until the first has loaded the encoding
                loaded = self._loaded.get(name) or _load(name)
                self._loaded[name] = loaded
        return loaded


@cache
def process_tokens() -> Tokens:
    """Returns the encodings of this process, which all its parts share."""
    return Tokens()


def token_bound(text: str) -> int:
    """Returns an upper bound of the tokens of `text` in any byte-level encoding: the number of its UTF-8 bytes."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def _load(name: EncodingName) -> tiktoken.Encoding:
    import tiktoken  # imported here, because a server starts without it

    ranks = {base64.b64decode(token): rank for rank, token in enumerate(vocabulary(name))}
    # Without special tokens, so that their names in a client's or a model's text are ordinary text.
    encoding = tiktoken.Encoding(name, pat_str=PATTERNS[name], mergeable_ranks=ranks, special_tokens={})
    ranks.clear()  # tiktoken counts with a copy of its own, but keeps this dict too: a third of the memory
    return encoding
