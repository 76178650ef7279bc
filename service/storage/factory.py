"""Which store of bytes a setting names."""

from __future__ import annotations

from pathlib import Path

from service.storage.base import Blobs
from service.storage.folder import FolderBlobs

# What EVERTHREAD_BLOBS may begin with.
SCHEMES = ("s3://", "gs://", "az://")


def open_blobs(url: str | None, folder: Path) -> Blobs:
    """The object store at `url`, or the local folder. Raises StorageError."""
    if url is None:
        return FolderBlobs(folder)
    # Costs 50 ms and 10 MB that nobody without an object store should pay.
    from service.storage.objects import ObjectBlobs

    return ObjectBlobs(url)
