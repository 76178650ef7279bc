"""The parts that the models of the embedding process share."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray


class TextModel(Protocol):
    """A model in this process. Safe to call from several threads."""

    def embed(self, text: str, *, query: bool) -> NDArray[np.float32]:
        """Returns the vector of a query or of a document, little-endian and of length 1."""
        ...


def open_session(model: bytes) -> onnxruntime.InferenceSession:
    """Returns a session in which each call computes in its own thread alone."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # an arena would keep the memory of the longest text
    options.log_severity_level = 3  # errors, and not that values are unused
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns the vector scaled to length 1."""
    scaled: NDArray[np.float32] = (vector / max(float(np.linalg.norm(vector)), 1e-12)).astype("<f4")
    return scaled
