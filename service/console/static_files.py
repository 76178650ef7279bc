"""The static files of the console, read once, with their types and hashes.

The page names the other files under a version, which is a hash of all of them, so that browsers may keep them for good
and never mix files of two releases. Imports between the files are relative, and so stay within the version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable

_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".mjs": "text/javascript",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
    ".woff2": "font/woff2",
}
_PAGE = "index.html"
_VERSION_MARK = b"{{version}}"
_HASH_DIGITS = 16


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file and its media type. `etag` includes the quotes of the header."""

    body: bytes = field(repr=False)
    media: str
    etag: str


@dataclass(frozen=True, slots=True)
class StaticFiles:
    """The page of the console, and all other files by their paths under the version."""

    page: StaticFile
    version: str
    assets: Mapping[str, StaticFile]


@cache
def load_static_files() -> StaticFiles:
    """Reads all files of the console. Takes some milliseconds; the result is kept."""
    bodies = dict(_walk(files(__package__) / "static", ""))
    page = bodies.pop(_PAGE)
    digest = sha256()
    for path in sorted(bodies):
        digest.update(sha256(path.encode()).digest() + sha256(bodies[path]).digest())
    version = digest.hexdigest()[:_HASH_DIGITS]
    assets = {path: _make(path, body) for path, body in bodies.items()}
    return StaticFiles(_make(_PAGE, page.replace(_VERSION_MARK, version.encode())), version, assets)


def _walk(folder: Traversable, prefix: str) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for entry in folder.iterdir():
        path = f"{prefix}{entry.name}"
        if entry.is_dir():
            found += _walk(entry, f"{path}/")
        elif _suffix(path) in _TYPES:
            found.append((path, entry.read_bytes()))
    return found


def _make(path: str, body: bytes) -> StaticFile:
    return StaticFile(body, _TYPES[_suffix(path)], f'"{sha256(body).hexdigest()[:_HASH_DIGITS]}"')


def _suffix(path: str) -> str:
    return path[path.rfind(".") :]
