"""multilingual-e5-small as the embedding process uses it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

from service.search.embed.e5.graph import INPUT, WIDTH, encoder
from service.search.embed.e5.packed_file import Floats, PackedFile
from service.search.embed.e5.tokenizer import UnigramTokenizer
from service.search.embed.text_model import open_session, unit

# The model was trained with these beginnings; see the card of intfloat/multilingual-e5-small.
QUERY, PASSAGE = "query: ", "passage: "
BEGIN, END = 0, 2
# The ids of <s>, <pad>, </s> and <unk>, and of <mask>, the last one. A text that has these words is only a text.
FIRST_SPECIAL = range(4)


class E5Model:
    """The mean of the last hidden states, scaled to length 1. Safe to call from several threads.

    The vector of a text that is longer than the model's 512 tokens is the mean of the vectors of its parts, each with
    the beginning of a query or a passage.
    """

    def __init__(self, weights: Path, sha256: str) -> None:
        """Raises ValueError if the file of weights has another checksum."""
        file = PackedFile(weights, sha256)
        self._file = file
        self._session: onnxruntime.InferenceSession = open_session(encoder(file))
        self._positions = file.floats("emb.pos").reshape(file.positions, WIDTH) + file.floats("emb.type")[:WIDTH]
        self._tokenizer = UnigramTokenizer(
            file.pieces,
            file.scores.tolist(),
            special=frozenset([*FIRST_SPECIAL, len(file.pieces) - 1]),
            unknown=file.unknown,
            characters=file.characters,
        )
        self._prefixes = {True: self._tokenizer.encode(QUERY), False: self._tokenizer.encode(PASSAGE)}

    def embed(self, text: str, *, query: bool) -> Floats:
        """Returns the vector of a query or a passage, of 384 numbers."""
        ids, prefix = self._tokenizer.encode(text), self._prefixes[query]
        step = self._file.positions - 2 - len(prefix)
        parts = [self._run([BEGIN, *prefix, *ids[at : at + step], END]) for at in range(0, max(1, len(ids)), step)]
        return unit(np.mean(parts, axis=0)) if len(parts) > 1 else parts[0]

    def _run(self, ids: list[int]) -> Floats:
        embeddings = self._file.blocks("emb.word", WIDTH, ids).floats() + self._positions[: len(ids)]
        states: Floats = self._session.run(None, {INPUT: embeddings[None]})[0]
        return unit(states[0].mean(axis=0))
