"""The messages of an ONNX file (onnx.proto3), as far as a graph of weights and operators needs them, as bytes.

They follow the wire format of Protocol Buffers. The numbers are those of the fields in onnx.proto3.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

IR_VERSION = 8
OPSET = 17
CONTRIBUTED = "com.microsoft"  # the domain of the operators that onnxruntime adds
_FLOAT = 1
_TYPES = {"float32": _FLOAT, "uint8": 2}
_VARINT, _BYTES, _FIXED_32 = 0, 2, 5


def tensor(name: str, values: NDArray[Any]) -> bytes:
    """Returns a TensorProto of float32 or uint8."""
    sizes = b"".join(_integer(1, size) for size in values.shape)
    return sizes + _integer(2, _TYPES[values.dtype.name]) + _text(8, name) + _message(9, values.tobytes())


def node(
    operator: str, inputs: Sequence[str], output: str, *, domain: str = CONTRIBUTED, **attributes: int | float
) -> bytes:
    """Returns a NodeProto with one output. An input without a name is left out."""
    names = b"".join(_text(1, name) for name in inputs) + _text(2, output)
    values = b"".join(_message(5, _attribute(name, value)) for name, value in attributes.items())
    return names + _text(4, operator) + values + _text(7, domain)


def model(nodes: Sequence[bytes], tensors: Sequence[bytes], *, given: str, result: str, columns: int) -> bytes:
    """Returns a ModelProto whose input and output are float32 of the shape (1, any, columns)."""
    shape = _message(1, _integer(1, 1)) + _message(1, _text(2, "tokens")) + _message(1, _integer(1, columns))
    of_floats = _message(2, _message(1, _integer(1, _FLOAT) + _message(2, shape)))
    graph = b"".join(
        [
            *(_message(1, each) for each in nodes),
            _text(2, "graph"),
            *(_message(5, each) for each in tensors),
            _message(11, _text(1, given) + of_floats),
            _message(12, _text(1, result) + of_floats),
        ]
    )
    opsets = [_text(1, "") + _integer(2, OPSET), _text(1, CONTRIBUTED) + _integer(2, 1)]
    return _integer(1, IR_VERSION) + _message(7, graph) + b"".join(_message(8, each) for each in opsets)


def _attribute(name: str, value: int | float) -> bytes:
    """Returns an AttributeProto of the type FLOAT (1) or INT (2)."""
    if isinstance(value, float):
        return _text(1, name) + _key(2, _FIXED_32) + struct.pack("<f", value) + _integer(20, 1)
    return _text(1, name) + _integer(3, value) + _integer(20, 2)


def _text(field: int, text: str) -> bytes:
    return _message(field, text.encode())


def _message(field: int, content: bytes) -> bytes:
    return _key(field, _BYTES) + _varint(len(content)) + content


def _integer(field: int, value: int) -> bytes:
    return _key(field, _VARINT) + _varint(value)


def _key(field: int, wire_type: int) -> bytes:
    return _varint(field << 3 | wire_type)


def _varint(value: int) -> bytes:
    """Returns an integer in groups of 7 bits, the lowest first; negative ones as 64 bits in two's complement."""
    value &= (1 << 64) - 1
    groups = bytearray()
    while value > 127:
        groups.append(value & 127 | 128)
        value >>= 7
    groups.append(value)
    return bytes(groups)
