"""The encoder of multilingual-e5-small (BERT with 12 layers) as an ONNX model over the weights of a packed file.

The input is the embeddings of the tokens, which the caller looks up in the file: the table of 250,037 rows would take
54 MB, of which a text needs a few kilobytes. The output is the last hidden states.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from service.search.embed.e5 import onnx_messages as onnx
from service.search.embed.e5.packed_file import BLOCK, Floats, PackedFile

WIDTH, INNER_WIDTH = 384, 1536
LAYERS, HEADS = 12, 12
INPUT, OUTPUT = "embeddings", "states"
# Products of 4-bit weights are computed with activations of 8 bits.
ACCURACY_LEVEL = 4


def encoder(file: PackedFile) -> bytes:
    """Returns the encoder as a serialized ModelProto of 13 MB."""
    graph = _Graph(file)
    states = graph.normalize(INPUT, "emb.ln")
    for layer in range(LAYERS):
        name = f"l{layer}"
        query, key, value = (graph.project(states, f"{name}.{part}", WIDTH) for part in "qkv")
        attention = graph.add("MultiHeadAttention", [query, key, value], f"{name}.attention", num_heads=HEADS)
        mixed = graph.project(attention, f"{name}.ao", WIDTH)
        states = graph.add_and_normalize(mixed, states, f"{name}.aln")
        inner = graph.project(states, f"{name}.fi", WIDTH)
        inner = graph.add("Gelu", [inner], f"{name}.gelu")
        outer = graph.project(inner, f"{name}.fo", INNER_WIDTH)
        is_last = layer == LAYERS - 1
        states = graph.add_and_normalize(outer, states, f"{name}.oln", OUTPUT if is_last else None)
    return onnx.model(graph.nodes, graph.tensors, given=INPUT, result=OUTPUT, columns=WIDTH)


@dataclass(slots=True)
class _Graph:
    """Nodes and weights. Each method adds a node, with the file's tensors of that name, and returns its output."""

    file: PackedFile
    nodes: list[bytes] = field(default_factory=list)
    tensors: list[bytes] = field(default_factory=list)

    def add(
        self,
        operator: str,
        inputs: list[str],
        output: str,
        *,
        domain: str = onnx.CONTRIBUTED,
        **attributes: int | float,
    ) -> str:
        self.nodes.append(onnx.node(operator, inputs, output, domain=domain, **attributes))
        return output

    def project(self, value: str, name: str, columns: int) -> str:
        """Multiplies by a matrix of `columns` columns and adds a bias."""
        blocks = self.file.blocks(f"{name}.w", columns)
        weights, scales, bias = f"{name}.w", f"{name}.scales", f"{name}.b"
        self.tensors.append(onnx.tensor(weights, blocks.adjacent()))
        self.tensors.append(onnx.tensor(scales, blocks.scales.reshape(-1)))
        self._add_floats(bias)
        return self.add(
            "MatMulNBits",
            [value, weights, scales, "", "", bias],
            f"{name}.product",
            K=columns,
            N=len(blocks.scales),
            bits=4,
            block_size=BLOCK,
            accuracy_level=ACCURACY_LEVEL,
        )

    def normalize(self, value: str, name: str) -> str:
        inputs = [value, self._add_floats(f"{name}.w"), self._add_floats(f"{name}.b")]
        return self.add("LayerNormalization", inputs, f"{name}.out", domain="", axis=-1, epsilon=self.file.epsilon)

    def add_and_normalize(self, value: str, states: str, name: str, output: str | None = None) -> str:
        inputs = [value, states, self._add_floats(f"{name}.w"), self._add_floats(f"{name}.b")]
        return self.add("SkipLayerNormalization", inputs, output or f"{name}.out", epsilon=self.file.epsilon)

    def _add_floats(self, name: str) -> str:
        values: Floats = self.file.floats(name)
        self.tensors.append(onnx.tensor(name, values))
        return name
