"""The Python that confined code sees: its folder, and whether it is complete.

It is not the server's own Python: the sandbox's user cannot enter a Python under /root, and code of the model must find
neither Everthread nor its libraries. So an interpreter is copied, with Python's own library and the packages of
`packages.lock`, into a folder that any user can read:

    <cache>/sandbox-<key>/python/     the interpreter and its library; packages/ beside it; both read-only inside
                          fonts/      matplotlib's list of fonts, which takes seconds to make
                          disk/       empty; the mount point of each sandbox's tmpfs
                          complete    written last: without it the folder counts as missing

The key is a hash of the lock, the interpreter and the machine. Another lock makes another folder, so an upgrade never
changes the Python of a running server.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import platformdirs

LAYOUT = 1
LOCK = "packages.lock"
_ROOT_CACHE = Path("/var/cache/everthread")
INSTALL = "`everthread sandbox install`"


class NoEnvironment(Exception):
    """The sandbox's Python is missing. The message is one line with the remedy."""


@dataclass(frozen=True, slots=True)
class Environment:
    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "python"

    @property
    def interpreter(self) -> Path:
        return self.python / "bin" / "python3"

    @property
    def packages(self) -> Path:
        return self.folder / "packages"

    @property
    def fonts(self) -> Path:
        return self.folder / "fonts"

    @property
    def disk(self) -> Path:
        return self.folder / "disk"

    @property
    def complete(self) -> Path:
        return self.folder / "complete"


def lock_text() -> str:
    """Returns the lock file of the packages inside, with versions and hashes."""
    return files("service.sandbox").joinpath(LOCK).read_text()


def package_names() -> list[str]:
    """Returns the names of the packages inside, without those that only others need."""
    lines = files("service.sandbox").joinpath("packages.in").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def environment_in(folder: Path | None = None) -> Environment:
    """Returns the environment of this version in `folder`, by default the cache folder of the machine or the user."""
    if folder is None:
        folder = _ROOT_CACHE if os.geteuid() == 0 else platformdirs.user_cache_path("everthread")
    named = (str(LAYOUT), sys.version, platform.machine(), lock_text())
    key = hashlib.sha256("\n".join(named).encode()).hexdigest()[:16]
    return Environment(folder / f"sandbox-{key}")


def find_environment(folder: Path | None = None) -> Environment:
    """Returns the environment if it is complete. Raises NoEnvironment."""
    environment = environment_in(folder)
    if not environment.complete.exists():
        raise NoEnvironment(f"the Python for the sandbox is not at {environment.folder}: run {INSTALL}")
    if environment.folder.stat().st_uid not in (0, os.geteuid()):
        raise NoEnvironment(f"{environment.folder} belongs to another user: remove it, then run {INSTALL}")
    return environment
