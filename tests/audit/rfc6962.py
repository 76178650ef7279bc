"""The definitions of RFC 6962, section 2.1, written down as they stand there: recursive, over lists of entries."""

from __future__ import annotations

from hashlib import sha256


def _split(count: int) -> int:
    k = 1
    while k * 2 < count:
        k *= 2
    return k


def tree_hash(entries: list[bytes]) -> bytes:
    if not entries:
        return sha256(b"").digest()
    if len(entries) == 1:
        return sha256(b"\x00" + entries[0]).digest()
    k = _split(len(entries))
    return sha256(b"\x01" + tree_hash(entries[:k]) + tree_hash(entries[k:])).digest()


def audit_path(m: int, entries: list[bytes]) -> list[bytes]:
    if len(entries) == 1:
        return []
    k = _split(len(entries))
    if m < k:
        return [*audit_path(m, entries[:k]), tree_hash(entries[k:])]
    return [*audit_path(m - k, entries[k:]), tree_hash(entries[:k])]


def consistency(m: int, entries: list[bytes]) -> list[bytes]:
    return [] if m in (0, len(entries)) else _subproof(m, entries, True)


def _subproof(m: int, entries: list[bytes], is_known: bool) -> list[bytes]:
    if m == len(entries):
        return [] if is_known else [tree_hash(entries)]
    k = _split(len(entries))
    if m <= k:
        return [*_subproof(m, entries[:k], is_known), tree_hash(entries[k:])]
    return [*_subproof(m - k, entries[k:], False), tree_hash(entries[:k])]
