"""Control groups: bounds that hold for all processes of a sandbox together, where we may make some.

Version 2 has one tree for all controllers, version 1 one for each; both are used where their folders can be written,
as root usually and as an ordinary user where systemd delegates. Without them the limits of each process (rlimits) are
all there is: a sandbox could then hold `processes` times its memory.

A group lies under the one we are in, or under the nearest one above it where groups can be made. Its name tells the
server it belongs to, so that the next start removes what a killed server left.
"""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

PREFIX = "everthread-"
# Looks at a dying group until it is empty: 200 × 10 ms.
_LOOKS, _LOOK_S = 200, 0.01
_numbers = itertools.count(1)  # of this process: no name is used twice
_FILES = {"memory": ("memory.max", "memory.limit_in_bytes"), "pids": ("pids.max", "pids.max")}


@dataclass(frozen=True, slots=True)
class Parent:
    """A folder under which groups can be made, and what they bound there."""

    folder: Path
    version: int
    controllers: tuple[str, ...]


@dataclass(slots=True)
class Cgroup:
    """One sandbox's group: one folder in version 2, one for each controller in version 1."""

    folders: list[Path] = field(default_factory=list)

    @property
    def doors(self) -> list[str]:
        """The files a process writes its id to, to come in."""
        return [str(folder / "cgroup.procs") for folder in self.folders]

    def pids(self) -> set[int]:
        found: set[int] = set()
        for folder in self.folders:
            with suppress(OSError):
                found.update(int(pid) for pid in (folder / "cgroup.procs").read_text().split())
        return found

    def killed_for_memory(self) -> int:
        """How many processes in here the kernel has killed for want of memory."""
        for folder in self.folders:
            for name in ("memory.events", "memory.oom_control"):
                with suppress(OSError):
                    for line in (folder / name).read_text().splitlines():
                        if line.startswith("oom_kill "):
                            return int(line.split()[1])
        return 0

    def memory(self) -> int | None:
        """Bytes in use, or None where memory is not counted."""
        for folder in self.folders:
            for name in ("memory.current", "memory.usage_in_bytes"):
                with suppress(OSError):
                    return int((folder / name).read_text())
        return None

    def kill(self) -> None:
        """Kills what is in here."""
        for pid in self.pids():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def remove(self) -> bool:
        """Kills what is in here and removes the group. Blocks for a moment; False where something would not die."""
        for _ in range(_LOOKS):
            self.kill()
            self.folders = [folder for folder in self.folders if not _removed(folder)]
            if not self.folders:
                return True
            time.sleep(_LOOK_S)
        return False


class Cgroups:
    """Makes groups under `parents`; none where there are no parents."""

    def __init__(self, parents: list[Parent]) -> None:
        self.parents = parents
        self._owner = f"{PREFIX}{os.getpid()}-{_born(os.getpid())}-"

    @property
    def controllers(self) -> frozenset[str]:
        """What is bounded: "memory", "pids"."""
        return frozenset(name for parent in self.parents for name in parent.controllers)

    def make(self, memory: int, processes: int) -> Cgroup | None:
        """A group for one sandbox, or None where none can be made. Bytes, and processes and threads."""
        made, number = Cgroup(), next(_numbers)
        try:
            for parent in self.parents:
                folder = parent.folder / f"{self._owner}{number}"
                folder.mkdir(exist_ok=True)  # version 1 may mount several controllers as one
                if folder not in made.folders:
                    made.folders.append(folder)
                if "memory" in parent.controllers:
                    _bound_memory(folder, parent.version, memory)
                if "pids" in parent.controllers:
                    (folder / "pids.max").write_text(str(processes))
        except OSError:
            made.remove()
            return None
        return made if made.folders else None

    def left(self) -> list[Path]:
        """Groups that this server has now."""
        return [folder for folder in self._all() if folder.name.startswith(self._owner)]

    def sweep(self) -> int:
        """Removes the groups of servers that are gone, with what still runs there; says how many."""
        gone = [folder for folder in self._all() if not _owner_lives(folder.name)]
        return sum(Cgroup([folder]).remove() for folder in gone)

    def _all(self) -> Iterator[Path]:
        for parent in self.parents:
            with suppress(OSError):
                yield from parent.folder.glob(f"{PREFIX}*-*-*")


def find_cgroups(proc: Path = Path("/proc/self")) -> Cgroups:
    """The groups that can be made here; none is a valid answer."""
    try:
        mounts = (proc / "mountinfo").read_text()
        ours = (proc / "cgroup").read_text()
    except OSError:
        return Cgroups([])
    within = {}
    for line in ours.splitlines():
        _, names, path = line.split(":", 2)
        within.update(dict.fromkeys(names.split(","), path))
    found: list[Parent] = []
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        mount = Path(before.split()[4].replace("\\040", " "))
        if kind == "cgroup2":
            found += _usable(mount, within.get("", "/"), 2, ("memory", "pids"))
        elif kind == "cgroup":
            for name in {"memory", "pids"} & set(options.split(",")):
                found += _usable(mount, within.get(name, "/"), 1, (name,))
    return Cgroups(found)


def _usable(mount: Path, path: str, version: int, controllers: tuple[str, ...]) -> list[Parent]:
    """The folder nearest to our own group where groups with these controllers can be made, if there is one."""
    own = mount / path.lstrip("/")
    for folder in (own, *own.parents):
        if not folder.is_relative_to(mount):
            break
        if folder.is_dir() and _tried(folder, version, controllers):
            return [Parent(folder, version, controllers)]
    return []


def _tried(folder: Path, version: int, controllers: tuple[str, ...]) -> bool:
    if version == 2:
        with suppress(OSError):
            (folder / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in controllers))
        # An ordinary user may move processes only below a group that is his.
        if not os.access(folder / "cgroup.procs", os.W_OK):
            return False
    trial = folder / f"{PREFIX}trial-{os.getpid()}"
    try:
        trial.mkdir()
    except OSError:
        return False
    try:
        files = [trial / _FILES[name][0 if version == 2 else 1] for name in controllers]
        return all(os.access(file, os.W_OK) for file in (*files, trial / "cgroup.procs"))
    finally:
        _removed(trial)


def _bound_memory(folder: Path, version: int, memory: int) -> None:
    if version == 2:
        (folder / "memory.max").write_text(str(memory))
        for name, value in (("memory.swap.max", "0"), ("memory.oom.group", "1")):
            with suppress(OSError):
                (folder / name).write_text(value)
        return
    (folder / "memory.limit_in_bytes").write_text(str(memory))
    with suppress(OSError):  # memory and swap together, where swap is counted
        (folder / "memory.memsw.limit_in_bytes").write_text(str(memory))


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _born(pid: int) -> int:
    """When a process was started, in the kernel's ticks since boot: no clock that is set changes it. 0 for none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[19])


def _owner_lives(name: str) -> bool:
    """Whether the server that made the group still runs; a process id alone may have been given out again."""
    parts = name.removeprefix(PREFIX).split("-")
    if len(parts) != 3 or not all(part.isdigit() for part in parts):
        return True
    return _born(int(parts[0])) == int(parts[1])
