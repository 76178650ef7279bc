"""Control groups: limits for all processes of a sandbox together, if groups can be created here.

Version 2 has one tree for all controllers, version 1 one tree for each. Both are used if their folders are writable,
which is usual for root, and for an ordinary user if systemd delegates. Without groups only the limits of each process
(rlimits) apply: a sandbox could then hold `processes` times its memory.

A group is created below this process's own group, or below the nearest ancestor in which groups can be created. Its
name identifies the server, so that the next start removes the groups of a killed server.
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
# Checks whether a dying group is empty: 200 × 10 ms.
_LOOKS, _LOOK_S = 200, 0.01
_numbers = itertools.count(1)  # counts groups of this process, so that no name is used twice
_FILES = {"memory": ("memory.max", "memory.limit_in_bytes"), "pids": ("pids.max", "pids.max")}


@dataclass(frozen=True, slots=True)
class CgroupParent:
    """A folder in which groups can be created, and the resources that they limit."""

    folder: Path
    version: int
    controllers: tuple[str, ...]


@dataclass(slots=True)
class Cgroup:
    """The group of one sandbox: one folder in version 2, one for each controller in version 1."""

    folders: list[Path] = field(default_factory=list)

    @property
    def join_files(self) -> list[str]:
        """Returns the files to which a process writes its id in order to join."""
        return [str(folder / "cgroup.procs") for folder in self.folders]

    def pids(self) -> set[int]:
        found: set[int] = set()
        for folder in self.folders:
            with suppress(OSError):
                found.update(int(pid) for pid in (folder / "cgroup.procs").read_text().split())
        return found

    def killed_for_memory(self) -> int:
        """Returns the number of processes in the group that the kernel has killed for lack of memory."""
        for folder in self.folders:
            for name in ("memory.events", "memory.oom_control"):
                with suppress(OSError):
                    for line in (folder / name).read_text().splitlines():
                        if line.startswith("oom_kill "):
                            return int(line.split()[1])
        return 0

    def memory(self) -> int | None:
        """Returns the bytes in use, or None if memory is not counted."""
        for folder in self.folders:
            for name in ("memory.current", "memory.usage_in_bytes"):
                with suppress(OSError):
                    return int((folder / name).read_text())
        return None

    def kill(self) -> None:
        """Kills every process in the group."""
        for pid in self.pids():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def remove(self) -> bool:
        """Kills every process in the group and removes it. Blocks briefly. Returns False if a process did not die."""
        for _ in range(_LOOKS):
            self.kill()
            self.folders = [folder for folder in self.folders if not _remove(folder)]
            if not self.folders:
                return True
            time.sleep(_LOOK_S)
        return False


class Cgroups:
    """Creates groups under `parents`, or none if there are no parents."""

    def __init__(self, parents: list[CgroupParent]) -> None:
        self.parents = parents
        self._owner = f"{PREFIX}{os.getpid()}-{_start_time(os.getpid())}-"

    @property
    def controllers(self) -> frozenset[str]:
        """The limited resources: "memory", "pids"."""
        return frozenset(name for parent in self.parents for name in parent.controllers)

    def make(self, memory: int, processes: int) -> Cgroup | None:
        """Creates a group for one sandbox, or returns None if that is impossible. `memory` is in bytes; `pids` counts
        processes and threads.
        """
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

    def sweep(self) -> int:
        """Removes the groups of dead servers, with every process in them. Returns their number."""
        gone = [folder for folder in self._all() if not _owner_lives(folder.name)]
        return sum(Cgroup([folder]).remove() for folder in gone)

    def _all(self) -> Iterator[Path]:
        for parent in self.parents:
            with suppress(OSError):
                yield from parent.folder.glob(f"{PREFIX}*-*-*")


def find_cgroups(proc: Path = Path("/proc/self")) -> Cgroups:
    """Finds the groups that can be created here. An empty result is valid."""
    try:
        mounts = (proc / "mountinfo").read_text()
        ours = (proc / "cgroup").read_text()
    except OSError:
        return Cgroups([])
    within = {}
    for line in ours.splitlines():
        _, names, path = line.split(":", 2)
        within.update(dict.fromkeys(names.split(","), path))
    found: list[CgroupParent] = []
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


def _usable(mount: Path, path: str, version: int, controllers: tuple[str, ...]) -> list[CgroupParent]:
    """Returns the nearest folder to this process's own group in which groups with these controllers can be created, or
    None.
    """
    own = mount / path.lstrip("/")
    for folder in (own, *own.parents):
        if not folder.is_relative_to(mount):
            break
        if folder.is_dir() and _can_create(folder, version, controllers):
            return [CgroupParent(folder, version, controllers)]
    return []


def _can_create(folder: Path, version: int, controllers: tuple[str, ...]) -> bool:
    if version == 2:
        with suppress(OSError):
            (folder / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in controllers))
        # An ordinary user may move processes only below a group of that user.
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
        _remove(trial)


def _bound_memory(folder: Path, version: int, memory: int) -> None:
    if version == 2:
        (folder / "memory.max").write_text(str(memory))
        for name, value in (("memory.swap.max", "0"), ("memory.oom.group", "1")):
            with suppress(OSError):
                (folder / name).write_text(value)
        return
    (folder / "memory.limit_in_bytes").write_text(str(memory))
    with suppress(OSError):  # memory and swap together, if swap is counted
        (folder / "memory.memsw.limit_in_bytes").write_text(str(memory))


def _remove(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _start_time(pid: int) -> int:
    """Returns the start time of a process in kernel ticks since boot, which clock changes do not affect, or 0."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[19])


def _owner_lives(name: str) -> bool:
    """Returns whether the server that created the group is running. A process id alone may have been assigned again."""
    parts = name.removeprefix(PREFIX).split("-")
    if len(parts) != 3 or not all(part.isdigit() for part in parts):
        return True
    return _start_time(int(parts[0])) == int(parts[1])
