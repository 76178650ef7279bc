"""The messages of an ONNX file (onnx.proto3), as far as a graph of weights and operators needs them, as bytes.

The numbers are those of the fields in onnx.proto3.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from service.search.embed.protobuf import FIXED_32, encode_content, encode_integer, encode_key

IR_VERSION = 8
OPSET = 17
CONTRIBUTED = "com.microsoft"  # the domain of the operators that onnxruntime adds
_FLOAT = 1
_TYPES = {"float32": _FLOAT, "uint8": 2}


def tensor(name: str, values: NDArray[Any]) -> bytes:
    """Returns a TensorProto of float32 or uint8."""
    sizes = b"".join(encode_integer(1, size) for size in values.shape)
    return sizes + encode_integer(2, _TYPES[values.dtype.name]) + _text(8, name) + encode_content(9, values.tobytes())


def node(
    operator: str, inputs: Sequence[str], output: str, *, domain: str = CONTRIBUTED, **attributes: int | float
) -> bytes:
    """Returns a NodeProto with one output. An input without a name is left out."""
    names = b"".join(_text(1, name) for name in inputs) + _text(2, output)
    values = b"".join(encode_content(5, _attribute(name, value)) for name, value in attributes.items())
    return names + _text(4, operator) + values + _text(7, domain)


def model(nodes: Sequence[bytes], tensors: Sequence[bytes], *, given: str, result: str, columns: int) -> bytes:
    """Returns a ModelProto whose input and output are float32 of the shape (1, any, columns)."""
    shape = (
        encode_content(1, encode_integer(1, 1))
        + encode_content(1, _text(2, "tokens"))
        + encode_content(1, encode_integer(1, columns))
    )
    of_floats = encode_content(2, encode_content(1, encode_integer(1, _FLOAT) + encode_content(2, shape)))
    graph = b"".join(
        [
            *(encode_content(1, each) for each in nodes),
            _text(2, "graph"),
            *(encode_content(5, each) for each in tensors),
            encode_content(11, _text(1, given) + of_floats),
            encode_content(12, _text(1, result) + of_floats),
        ]
    )
    opsets = [_text(1, "") + encode_integer(2, OPSET), _text(1, CONTRIBUTED) + encode_integer(2, 1)]
    return (
        encode_integer(1, IR_VERSION) + encode_content(7, graph) + b"".join(encode_content(8, each) for each in opsets)
    )


def _attribute(name: str, value: int | float) -> bytes:
    """Returns an AttributeProto of the type FLOAT (1) or INT (2)."""
    if isinstance(value, float):
        return _text(1, name) + encode_key(2, FIXED_32) + struct.pack("<f", value) + encode_integer(20, 1)
    return _text(1, name) + encode_integer(3, value) + encode_integer(20, 2)


def _text(field: int, text: str) -> bytes:
    return encode_content(field, text.encode())
