"""Puts the certificates of a time stamp response into the order of DER.

Authorities that use `openssl ts` send them in another order, and `rfc3161-client` accepts only DER. No signature covers
the order (RFC 5652, section 5.1). Everything here is pure.
"""

from __future__ import annotations

from typing import NamedTuple

_SEQUENCE, _CONTEXT_0 = 0x30, 0xA0


class _Element(NamedTuple):
    """An element of ASN.1 in bytes: its tag, its begin, the begin of its content, and its end."""

    tag: int
    begin: int
    content: int
    end: int


def sort_certificates(response: bytes) -> bytes:
    """Returns the response (RFC 3161, section 2.4.2) with sorted certificates, or as it is if it has none."""
    try:
        # TimeStampResp: status, token. ContentInfo: type, content. SignedData: version, digests, text, certificates.
        place = _Element(_SEQUENCE, 0, 0, len(response))
        for tag, number in ((_SEQUENCE, 0), (_SEQUENCE, 1), (_CONTEXT_0, 1), (_SEQUENCE, 0), (_CONTEXT_0, 3)):
            place = _children(response, place)[number]
            if place.tag != tag:
                return response
        certificates = sorted(response[item.begin : item.end] for item in _children(response, place))
    except (IndexError, ValueError):
        return response
    return response[: place.content] + b"".join(certificates) + response[place.end :]


def _children(data: bytes, parent: _Element) -> list[_Element]:
    """Returns the elements within an element. Raises ValueError or IndexError if they are not well formed."""
    found, at = list[_Element](), parent.content
    while at < parent.end:
        tag, length, content = data[at], data[at + 1], at + 2
        if length & 0x80:
            size = length & 0x7F
            if not 1 <= size <= 4:
                raise ValueError("a length of another form than that of DER")
            length, content = int.from_bytes(data[content : content + size], "big"), content + size
        if content + length > parent.end:
            raise ValueError("an element ends after the one that holds it")
        found.append(_Element(tag, at, content, content + length))
        at = content + length
    return found
