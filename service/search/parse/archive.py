"""Office documents are zip archives, and are looked over before a library unpacks them."""

from __future__ import annotations

import zipfile
from typing import BinaryIO

from service.search.parse.types import Unreadable

# Bytes that an archive may hold when it is unpacked, and how many members.
MAX_UNPACKED = 512 * 1024 * 1024
MAX_MEMBERS = 20_000
# The libraries build a tree of such a member, about ten times its size.
MAX_TREE = 48 * 1024 * 1024
MAX_NESTING = 50  # tables in tables, groups in groups
_STREAMED = ("xl/worksheets/", "media/", "embeddings/")  # read as they come, or not at all


def look_over(file: BinaryIO) -> None:
    """What the archive says of its members. Members that lie about their size are cut by the zip library."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except zipfile.BadZipFile:
        raise Unreadable("The document's archive is damaged.") from None
    if len(members) > MAX_MEMBERS or sum(member.file_size for member in members) > MAX_UNPACKED:
        raise Unreadable("The document is too large when it is unpacked.")
    for member in members:
        if member.flag_bits & 0x1:
            raise Unreadable("The document is protected by a password.")
        if member.file_size > MAX_TREE and not any(part in member.filename for part in _STREAMED):
            raise Unreadable("A part of the document is too large when it is unpacked.")
    file.seek(0)
