"""Removes the attention mask from an ONNX model that gets one text at a time: pure.

The mask keeps the attention off the padding of shorter texts. A single text has none, so the mask adds zero to every
score of the attention, and the check that PyTorch exports with it (`Where(IsNaN(x), 0, x)`, for rows in which every
position is masked) never finds anything. Both take a sixth of the time of a run.

An ONNX file is a protobuf message. The fields that are read and written here are those of ModelProto, GraphProto,
NodeProto and ValueInfoProto in `onnx/onnx.proto` of the ONNX project. All of them are length-delimited: a tag, a
length, and as many bytes (https://protobuf.dev/programming-guides/encoding/).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from service.search.embed.protobuf import encode_content

_GRAPH = 7  # of a model
_NODE, _OUTPUT = 1, 12  # of a graph
_INPUT_NAME, _OUTPUT_NAME, _OPERATION = 1, 2, 4  # of a node
_NAME = 1  # of an output of a graph
_MASK = b"attention_mask"


@dataclass(frozen=True, slots=True)
class _Field:
    """A field of a message. `content` is empty if the field is not length-delimited; `encoded` holds all its bytes."""

    number: int
    content: bytes
    encoded: bytes


@dataclass(frozen=True, slots=True)
class _Node:
    operation: bytes
    inputs: Sequence[bytes]
    outputs: Sequence[bytes]
    encoded: bytes


def remove_attention_mask(model: bytes) -> bytes:
    """Returns the model without its attention mask and its checks for NaN. Models that have neither stay as they are.

    The mask is the input `attention_mask`; it stays an input, and is ignored.
    """
    fields = list(_fields(model))
    return b"".join(
        encode_content(_GRAPH, _simplify(field.content)) if field.number == _GRAPH else field.encoded
        for field in fields
    )


def _simplify(graph: bytes) -> bytes:
    fields = list(_fields(graph))
    nodes = [_read_node(field) for field in fields if field.number == _NODE]
    bypassed = _bypass(nodes)
    if bypassed == nodes:
        return graph
    needed = {_contents(_fields(field.content), _NAME)[0] for field in fields if field.number == _OUTPUT}
    others = (field.encoded for field in fields if field.number != _NODE)
    return b"".join((*(node.encoded for node in _without_unused(bypassed, needed)), *others))


def _bypass(nodes: Sequence[_Node]) -> list[_Node]:
    """Returns the nodes, of which those that check for NaN or add the mask pass on their other input."""
    checked = {node.outputs[0]: node.inputs[0] for node in nodes if node.operation == b"IsNaN"}
    of_mask, masks = {_MASK}, set[bytes]()
    bypassed = []
    for node in nodes:
        inputs, passed_on = node.inputs, None
        if node.operation == b"Where" and checked.get(inputs[0]) == inputs[2]:
            passed_on = inputs[2]
        elif node.operation == b"Where" and inputs[0] in of_mask and of_mask.isdisjoint(inputs[1:]):
            masks.update(node.outputs)
        elif node.operation == b"Add" and masks.intersection(inputs):
            passed_on = next(name for name in inputs if name not in masks)
        if of_mask.intersection(inputs):
            of_mask.update(node.outputs)
        bypassed.append(node if passed_on is None else _identity(node, passed_on))
    return bypassed


def _without_unused(nodes: Sequence[_Node], needed: set[bytes]) -> list[_Node]:
    """Returns the nodes that lead to the values of `needed`. Nodes are in the order of their use."""
    kept = []
    for node in reversed(nodes):
        if needed.intersection(node.outputs):
            needed.update(node.inputs)
            kept.append(node)
    return kept[::-1]


def _identity(node: _Node, value: bytes) -> _Node:
    """Returns a node that gives `value` under the name of the node's output."""
    content = (
        encode_content(_INPUT_NAME, value)
        + encode_content(_OUTPUT_NAME, node.outputs[0])
        + encode_content(_OPERATION, b"Identity")
    )
    return _Node(b"Identity", [value], node.outputs, encode_content(_NODE, content))


def _read_node(field: _Field) -> _Node:
    parts = list(_fields(field.content))
    operation = b"".join(_contents(parts, _OPERATION))
    return _Node(operation, _contents(parts, _INPUT_NAME), _contents(parts, _OUTPUT_NAME), field.encoded)


def _contents(fields: Iterable[_Field], number: int) -> list[bytes]:
    return [field.content for field in fields if field.number == number]


def _fields(message: bytes) -> Iterator[_Field]:
    """Yields the fields of a message in order. Raises ValueError if it is no such message."""
    at = 0
    while at < len(message):
        start = at
        tag, at = _read_varint(message, at)
        content = b""
        match tag & 7:
            case 0:
                _, at = _read_varint(message, at)
            case 1:
                at += 8
            case 2:
                length, at = _read_varint(message, at)
                content = message[at : at + length]
                at += length
            case 5:
                at += 4
            case kind:
                raise ValueError(f"no wire type: {kind}")
        yield _Field(tag >> 3, content, message[start:at])


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    """Returns the number that begins at `at`, and the place after it."""
    number, shift = 0, 0
    while True:
        number |= (message[at] & 0x7F) << shift
        shift += 7
        at += 1
        if message[at - 1] < 0x80:
            return number, at
