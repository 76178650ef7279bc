"""The Python that confined code sees: its folder, and whether it is complete.

It is not the server's own Python: the sandbox's user cannot enter a Python under /root, and code of the model must find
neither Everthread nor its libraries. So an interpreter is copied, with Python's own library and the packages of
a set (packages.py), into a folder that any user can read:

    <cache>/sandbox-<key>/python/     the interpreter and its library; packages/ beside it; both read-only inside
                          matplotlib/ its settings, and its list of fonts, which takes seconds to make
                          fonts/      fonts with glyphs for Arabic, Chinese, Japanese and Korean
                          disk/       empty; the mount point of each sandbox's tmpfs
                          names       the names of the packages, one a line
                          complete    written last: without it the folder counts as missing

The key is a hash of the lock, the own list, the interpreter and the machine. Another lock makes another folder, so an
upgrade never changes the Python of a running server.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from service.sandbox.packages import SMALL, PackageSet

LAYOUT = 2
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
    def matplotlib(self) -> Path:
        return self.folder / "matplotlib"

    @property
    def fonts(self) -> Path:
        return self.folder / "fonts"

    @property
    def disk(self) -> Path:
        return self.folder / "disk"

    @property
    def names(self) -> Path:
        return self.folder / "names"

    @property
    def complete(self) -> Path:
        return self.folder / "complete"

    def package_names(self) -> list[str]:
        """Returns the names of the packages inside, without those that only others need. Raises OSError."""
        return self.names.read_text().splitlines()


def environment_in(folder: Path | None = None, packages: PackageSet = SMALL) -> Environment:
    """Returns the environment of these packages in `folder`, by default the cache folder of the machine or the user.

    It may be missing.
    """
    if folder is None:
        folder = _ROOT_CACHE if os.geteuid() == 0 else platformdirs.user_cache_path("everthread")
    named = (
        str(LAYOUT),
        sys.version,
        platform.machine(),
        packages.lock,
        packages.nltk_data_lock,
        packages.requirements,
    )
    key = hashlib.sha256("\n".join(str(part) for part in named).encode()).hexdigest()[:16]
    return Environment(folder / f"sandbox-{key}")


def find_environment(folder: Path | None = None, packages: PackageSet = SMALL) -> Environment:
    """Returns the environment of the last of the set's stages that is complete. Raises NoEnvironment."""
    stages = [environment_in(folder, stage) for stage in packages.stages]
    environment = next((stage for stage in reversed(stages) if stage.complete.exists()), None)
    if environment is None:
        raise NoEnvironment(f"the Python for the sandbox is not at {stages[-1].folder}: run {INSTALL}")
    if environment.folder.stat().st_uid not in (0, os.geteuid()):
        raise NoEnvironment(f"{environment.folder} belongs to another user: remove it, then run {INSTALL}")
    return environment
