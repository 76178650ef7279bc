"""The names and media types that clients give files. Both come back in headers and name files in sandboxes."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from events.errors import Rejection
from service.wire import storable_text

# Limits of our own.
MAX_FILENAME = 1_024
MAX_MEDIA_TYPE = 256
OCTETS = "application/octet-stream"
_MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+(; ?[\w.+-]+=[\w.+-]+){0,5}", re.ASCII)


def plain_filename(given: str) -> str:
    """Returns the last part of a path of any system. Raises Rejection if it cannot be the name of a file."""
    name = last_part(given)
    if not storable_text.is_storable(name):
        raise storable_text.unstorable("filename")
    if not name or name == ".." or len(name) > MAX_FILENAME:
        raise Rejection(f"Invalid 'filename': a name of 1 to {MAX_FILENAME} characters is needed.", param="filename")
    return name


def last_part(path: str) -> str:
    """Returns the last part of a path, with / or \\ between its parts."""
    return PurePosixPath(path.replace("\\", "/")).name


def plain_media_type(given: str) -> str:
    """Returns the media type if it is a valid one, else that of plain bytes."""
    return given if len(given) <= MAX_MEDIA_TYPE and _MEDIA_TYPE.fullmatch(given) else OCTETS
