"""Chooses the blob store that a setting names."""

from __future__ import annotations

from pathlib import Path

from service.storage.base import Blobs
from service.storage.folder import FolderBlobs

# The schemes that EVERTHREAD_BLOBS may have.
SCHEMES = ("s3://", "gs://", "az://")


def open_blobs(url: str | None, folder: Path) -> Blobs:
    """Returns the object store at `url`, or the local folder if there is none. Raises StorageError."""
    if url is None:
        return FolderBlobs(folder)
    # The import takes 50 ms and 10 MB, so it is made only for an object store.
    from service.storage.objects import ObjectBlobs

    return ObjectBlobs(url)
