"""Checks of Office documents, which are zip archives, before a library unpacks them."""

from __future__ import annotations

import zipfile
from typing import BinaryIO

from service.search.parse.types import UnreadableFile

# Unpacked bytes, and members, that an archive may have.
MAX_UNPACKED = 512 * 1024 * 1024
MAX_MEMBERS = 20_000
# Bytes of a member from which the libraries build a tree, which takes about ten times as much memory.
MAX_TREE = 48 * 1024 * 1024
MAX_NESTING = 50  # levels of tables in tables, and of groups in groups
_STREAMED = ("xl/worksheets/", "media/", "embeddings/")  # read piece by piece, or not at all


def check_archive(file: BinaryIO) -> None:
    """Raises UnreadableFile if the archive is damaged, encrypted or too large, by its own directory.

    If a member is larger than the directory says, the zip library cuts it off at the declared size.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except zipfile.BadZipFile:
        raise UnreadableFile("The document's archive is damaged.") from None
    if len(members) > MAX_MEMBERS or sum(member.file_size for member in members) > MAX_UNPACKED:
        raise UnreadableFile("The document is too large when it is unpacked.")
    for member in members:
        if member.flag_bits & 0x1:
            raise UnreadableFile("The document is protected by a password.")
        if member.file_size > MAX_TREE and not any(part in member.filename for part in _STREAMED):
            raise UnreadableFile("A part of the document is too large when it is unpacked.")
    file.seek(0)
