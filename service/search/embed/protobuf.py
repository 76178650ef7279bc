"""Writes the wire format of Protocol Buffers (https://protobuf.dev/programming-guides/encoding/): pure."""

from __future__ import annotations

VARINT, LENGTH_DELIMITED, FIXED_32 = 0, 2, 5


def encode_key(number: int, wire_type: int) -> bytes:
    """Returns the bytes before the value of a field."""
    return encode_varint(number << 3 | wire_type)


def encode_content(number: int, content: bytes) -> bytes:
    """Returns a length-delimited field: a text, a message or bytes."""
    return encode_key(number, LENGTH_DELIMITED) + encode_varint(len(content)) + content


def encode_integer(number: int, value: int) -> bytes:
    """Returns a field that holds an integer."""
    return encode_key(number, VARINT) + encode_varint(value)


def encode_varint(value: int) -> bytes:
    """Returns an integer in groups of 7 bits, the lowest first; negative ones as 64 bits in two's complement."""
    value &= (1 << 64) - 1
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)
