"""all-MiniLM-L6-v2 as the embedding process uses it: without its attention mask, since texts are embedded singly."""

from __future__ import annotations

import gzip
import hashlib
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from service.search.embed.onnx_graph import remove_attention_mask
from service.search.embed.text_model import open_session, unit

# Word pieces that the model takes at once, including its two markers. The vector of a longer text is the mean of the
# vectors of its parts.
CAPACITY = 512


class MiniLMModel:
    """The mean of the last hidden states, scaled to length 1. Safe to call from several threads."""

    def __init__(self, weights: Path, sha256: str) -> None:
        """Raises ValueError if the file of weights has another checksum."""
        data = weights.read_bytes()
        if hashlib.sha256(data).hexdigest() != sha256:
            raise ValueError(f"{weights} is not the file it should be")
        self._session = open_session(remove_attention_mask(data))
        vocabulary = files("service.search.embed").joinpath("tokenizer.json.gz").read_bytes()
        self._tokenizer = Tokenizer.from_buffer(gzip.decompress(vocabulary))

    def embed(self, text: str, *, query: bool) -> NDArray[np.float32]:
        """Returns the vector of a text, of 384 numbers. Queries are embedded as documents are."""
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        step = CAPACITY - 2
        parts = [self._run(ids[at : at + step]) for at in range(0, max(1, len(ids)), step)]
        return unit(np.mean(parts, axis=0)) if len(parts) > 1 else parts[0]

    def _run(self, ids: list[int]) -> NDArray[np.float32]:
        tokens = np.array([[101, *ids, 102]], dtype=np.int64)  # [CLS] and [SEP]
        ones = np.ones_like(tokens)
        feed = {"input_ids": tokens, "attention_mask": ones, "token_type_ids": np.zeros_like(tokens)}
        states: NDArray[np.float32] = self._session.run(None, feed)[0]
        return unit(states[0].mean(axis=0))
