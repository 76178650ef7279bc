"""Encryption of the columns that hold text of clients (`sql.sealed_columns`): AES-256-GCM under the key of a stream.

A sealed value is MAGIC, the id of the key, a random nonce of 96 bits, and the ciphertext with its tag. The additional
data are the table, the key of the row, the column and the id of the key, so a value that is moved to another place does
not open. Plain values do not begin with MAGIC: JSON begins with `{` or `[`, and the content of an event with a salt of
256 random bits. So both can stand beside each other while an installation is being encrypted.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sql.row_operations import RowOperation
from sql.sealed_columns import SEALED_PARAMETERS, Place, SealedResult, SealedTable, key_part

MAGIC = b"\x00ETseal\x01"
KEY_BYTES = 32
KEY_ID_BYTES = 8
NONCE_BYTES = 12
TAG_BYTES = 16
# Bytes by which a sealed value is longer than the plain one.
OVERHEAD = len(MAGIC) + KEY_ID_BYTES + NONCE_BYTES + TAG_BYTES
_DOMAIN = b"everthread/sealed/1\n"
_KEY_ID_AT = len(MAGIC)
_NONCE_AT = _KEY_ID_AT + KEY_ID_BYTES
_CIPHERTEXT_AT = _NONCE_AT + NONCE_BYTES


class ContentErased(Exception):
    """A value is encrypted under a key that was destroyed."""

    def __init__(self, stream_id: str) -> None:
        super().__init__(f"The key of {stream_id} was destroyed: its contents are erased")
        self.stream_id = stream_id


class SealBroken(Exception):
    """A sealed value was changed, or moved to another row or column."""


class StreamKey:
    """The data key of one stream. `id` are KEY_ID_BYTES bytes."""

    __slots__ = ("_cipher", "id", "stream_id")

    def __init__(self, stream_id: str, id: bytes, secret: bytes) -> None:
        self.stream_id = stream_id
        self.id = id
        self._cipher = AESGCM(secret)

    def seal(self, value: bytes, place: Place) -> bytes:
        """Returns the sealed value, of OVERHEAD bytes more."""
        nonce = os.urandom(NONCE_BYTES)
        return b"".join((MAGIC, self.id, nonce, self._cipher.encrypt(nonce, value, additional_data(place, self.id))))

    def open(self, value: bytes, place: Place) -> bytes:
        """Returns the plain value. Raises ContentErased if another key sealed it, and SealBroken."""
        return self.open_with(value, additional_data(place, self.id))

    def open_with(self, value: bytes, data: bytes) -> bytes:
        """Returns the plain value; `data` are the additional data of its place. Raises as `open`."""
        if value[_KEY_ID_AT:_NONCE_AT] != self.id:
            raise ContentErased(self.stream_id)
        try:
            return self._cipher.decrypt(value[_NONCE_AT:_CIPHERTEXT_AT], value[_CIPHERTEXT_AT:], data)
        except (InvalidTag, ValueError):
            raise SealBroken(f"A sealed value of {self.stream_id} was changed or moved") from None


def additional_data(place: Place, key_id: bytes) -> bytes:
    """Returns the bytes that bind a value to its place: the domain, then each part with its length in front."""
    common = _common_data(key_id, place[0], place[-1], place[1])
    return common + b"".join([_part(part) for part in place[2:-1]])


@lru_cache(maxsize=4096)
def _common_data(key_id: bytes, table: str, column: str, owner: str) -> bytes:
    """Returns the part that the values of a column of one stream have in common."""
    return b"".join((_DOMAIN, key_id, _part(table), _part(column), _part(owner)))


def _part(value: Any) -> bytes:
    encoded = value if isinstance(value, bytes) else str(value).encode()
    return len(encoded).to_bytes(4, "big") + encoded


def is_sealed(value: object) -> bool:
    """Whether the value of a column, or an element of an array, is sealed."""
    return isinstance(value, bytes) and value.startswith(MAGIC)


def key_id_of(value: bytes) -> str:
    """Returns the id of the key that sealed the value, in hexadecimal digits."""
    return value[_KEY_ID_AT:_NONCE_AT].hex()


def seal_operations(operations: Sequence[RowOperation], key: StreamKey) -> list[RowOperation]:
    """Returns the operations with their sealed parameters encrypted. All are on rows of the key's stream."""
    return [_seal_operation(operation, key) for operation in operations]


def _seal_operation(operation: RowOperation, key: StreamKey) -> RowOperation:
    sealed = SEALED_PARAMETERS.get(operation.block)
    if sealed is None:
        return operation
    values, table = list(operation.values), operation.block.partition(".")[0]
    for number, column in sealed.columns.items():
        value = values[number - 1]
        if value is None:
            continue
        elements = value if isinstance(value, list) else [value]
        keys = sealed.keys_of(operation.values, len(elements))
        places = ((table, *row, column) for row in keys)
        done = [
            None if element is None else key.seal(element, place)
            for element, place in zip(elements, places, strict=True)
        ]
        values[number - 1] = done if isinstance(value, list) else done[0]
    if sealed.key_id is not None:
        values[sealed.key_id - 1] = key.id.hex()
    return RowOperation(operation.block, tuple(values))


def seal_row(table: str, layout: SealedTable, row: Mapping[str, Any], key: StreamKey) -> dict[str, Any]:
    """Returns the row of a table with its sealed columns encrypted."""
    place = (table, *(row[column] for column in layout.key))
    return {
        column: _map(value, lambda plain, column=column: key.seal(plain, (*place, column)))
        if column in layout.columns
        else value
        for column, value in row.items()
    }


def _map(value: Any, change: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, list):
        return [None if element is None else change(element) for element in value]
    return change(value)


class OpenedRow(Mapping[str, Any]):
    """A row of a query whose sealed values are opened. Like asyncpg's records, it yields its values, not its names."""

    __slots__ = ("_names", "_values")

    def __init__(self, names: Mapping[str, int], values: list[Any]) -> None:
        self._names = names
        self._values = values

    def __getitem__(self, key: Any) -> Any:
        return self._values[self._names[key]] if isinstance(key, str) else self._values[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: object) -> bool:
        return key in self._names

    def get(self, key: str, default: Any = None) -> Any:
        return self._values[self._names[key]] if key in self._names else default

    def keys(self) -> Any:
        return self._names.keys()

    def values(self) -> Any:
        return iter(self._values)

    def items(self) -> Any:
        return zip(self._names, self._values, strict=True)


def find_sealed(result: SealedResult, rows: Sequence[Mapping[str, Any]]) -> list[bool]:
    """Returns for each row whether it has a sealed value."""
    return [_has_sealed(row, result.columns) for row in rows]


def _has_sealed(row: Mapping[str, Any], columns: tuple[str, ...]) -> bool:
    for column in columns:
        value = row[column]
        if isinstance(value, bytes):
            if value.startswith(MAGIC):
                return True
        elif isinstance(value, list):
            for element in value:
                if element is not None and element.startswith(MAGIC):
                    return True
    return False


def open_rows(
    result: SealedResult,
    rows: Sequence[Mapping[str, Any]],
    are_sealed: Sequence[bool],
    values: Sequence[Any],
    keys: Mapping[str, StreamKey],
    *,
    is_lenient: bool = False,
) -> list[Mapping[str, Any]]:
    """Returns the rows, with the values of those that `are_sealed` opened. `values` are the query's parameters.

    Raises ContentErased and SealBroken; if it `is_lenient`, an erased value stays sealed, and a broken one becomes b"".
    """
    names = {name: place for place, name in enumerate(rows[0].keys())}
    owner_part, *other_parts = result.key
    columns = [(column, names[column]) for column in result.columns]
    prefixes = dict[tuple[str, str], bytes]()
    opened: list[Mapping[str, Any]] = []
    for row, has_sealed in zip(rows, are_sealed, strict=True):
        if not has_sealed:
            opened.append(row)
            continue
        owner = key_part(owner_part, row, values)
        end = b""
        for part in other_parts:
            end += _part(key_part(part, row, values))
        key = keys.get(owner)
        plain = list(row.values())
        for column, at in columns:
            value = plain[at]
            if not value:  # null, or no patches
                continue
            if key is None:
                data = b""
            else:
                prefix = prefixes.get((owner, column))
                if prefix is None:
                    prefix = prefixes[owner, column] = _common_data(key.id, result.table, column, owner)
                data = prefix + end
            if isinstance(value, list):
                plain[at] = [_open(each, key, data, owner, is_lenient) if each is not None else None for each in value]
            else:
                plain[at] = _open(value, key, data, owner, is_lenient)
        opened.append(OpenedRow(names, plain))
    return opened


def _open(value: bytes, key: StreamKey | None, data: bytes, owner: str, is_lenient: bool) -> bytes:
    """Returns the plain value. `data` are the additional data of its place."""
    if not value.startswith(MAGIC):
        return value
    try:
        if key is None:
            raise ContentErased(owner)
        return key.open_with(value, data)
    except ContentErased:
        if not is_lenient:
            raise
        return value
    except SealBroken:
        if not is_lenient:
            raise
        return b""
