"""The vocabularies of tokens, offline.

They are package data: `token_data/<encoding>.txt.gz` holds the tokens in base64, a token on each line, ordered by rank,
from the npm package tiktoken 1.0.22. A test checks that they reproduce, byte for byte, the file that tiktoken would
download. They are passed to tiktoken in memory, so nothing is downloaded or written.
"""

from __future__ import annotations

import base64
import gzip
from importlib import resources
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import tiktoken

EncodingName = Literal["cl100k_base", "o200k_base"]

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


def load_encoding(name: EncodingName) -> tiktoken.Encoding:
    """Returns the encoding, after 0.2–0.35 s. It takes 25 MB (cl100k) or 43 MB (o200k)."""
    import tiktoken  # imported here, because a server starts without it

    ranks = {base64.b64decode(token): rank for rank, token in enumerate(vocabulary(name))}
    # Without special tokens, so that their names in a client's or a model's text are ordinary text.
    encoding = tiktoken.Encoding(name, pat_str=PATTERNS[name], mergeable_ranks=ranks, special_tokens={})
    ranks.clear()  # tiktoken counts with a copy of its own, but keeps this dict too: a third of the memory
    return encoding
