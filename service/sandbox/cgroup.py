"""Control groups: limits for all processes of a sandbox together, if groups can be created here. They also freeze a
sandbox between its calls, which no process inside can undo, and count its CPU time.

Version 2 has one tree for all controllers, version 1 one tree for each. Both are used if their folders are writable,
which is usual for root, and for an ordinary user if systemd delegates. Without groups only the limits of each process
(rlimits) apply: a sandbox could then hold `processes` times its memory.

A group is created below this process's own group, or below the nearest ancestor in which groups can be created. Its
name identifies the server, so that the next start removes the groups of a killed server.
"""

from __future__ import annotations

import itertools
import os
import shlex
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
# The process that has started the guard of `_guard_frozen`, and the pipe whose end the guard waits for.
_guard: tuple[int, int] | None = None
_FILES = {
    "memory": ("memory.max", "memory.limit_in_bytes"),
    "pids": ("pids.max", "pids.max"),
    "freezer": ("cgroup.freeze", "freezer.state"),
    "cpuacct": ("cpu.stat", "cpuacct.usage"),
}
# Version 2 has these in every group, without a controller.
_IN_EVERY_GROUP = ("freezer", "cpuacct")
# The files that freeze a group: the values that freeze and thaw it.
_FREEZERS = {"cgroup.freeze": ("1", "0"), "freezer.state": ("FROZEN", "THAWED")}


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

    def cpu_s(self) -> float | None:
        """Returns the CPU seconds that all processes have used so far, or None if they are not counted."""
        for folder in self.folders:
            with suppress(OSError):
                return int((folder / "cpuacct.usage").read_text()) / 1e9
            with suppress(OSError):
                words = (folder / "cpu.stat").read_text().split()
                return int(words[words.index("usage_usec") + 1]) / 1e6
        return None

    def freeze(self) -> bool:
        """Stops every process in the group within moments, until `thaw`. Returns False if that is impossible."""
        return self._set_frozen(0)

    def thaw(self) -> None:
        """Lets the processes of a frozen group run."""
        self._set_frozen(1)

    def _set_frozen(self, index: int) -> bool:
        for folder in self.folders:
            for name, values in _FREEZERS.items():
                if (folder / name).exists():
                    with suppress(OSError):
                        (folder / name).write_text(values[index])
                        return True
        return False

    def kill(self) -> None:
        """Kills every process in the group. A frozen process of version 1 would not die, so the group is thawed."""
        for pid in self.pids():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        self.thaw()

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
        """The resources that are limited or counted: "memory", "pids", "cpuacct"; and "freezer"."""
        return frozenset(name for parent in self.parents for name in parent.controllers)

    def make(self, memory: int, processes: int) -> Cgroup | None:
        """Creates a group for one sandbox, or returns None if that is impossible. `memory` is in bytes; `pids` counts
        processes and threads.
        """
        self._guard_frozen()
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
        left: dict[str, list[Path]] = {}
        for folder in self._all():
            if not _owner_lives(folder.name):
                left.setdefault(folder.name, []).append(folder)
        return sum(Cgroup(folders).remove() for folders in left.values())

    def _guard_frozen(self) -> None:
        """Starts a process, once, that thaws the groups of this process when this process has ended.

        A frozen process of version 1 does not die with its parent until it is thawed.
        """
        global _guard
        freezers = [one.folder for one in self.parents if one.version == 1 and "freezer" in one.controllers]
        if (_guard is not None and _guard[0] == os.getpid()) or not freezers:
            return
        ours = " ".join(shlex.quote(str(folder / self._owner)) + "*/freezer.state" for folder in freezers)
        script = f'read -r _; for state in {ours}; do [ ! -e "$state" ] || echo THAWED >"$state"; done'
        reading, writing = os.pipe()
        os.posix_spawn(
            "/bin/sh",
            ["sh", "-c", script],
            {"PATH": os.defpath},
            file_actions=[(os.POSIX_SPAWN_DUP2, reading, 0)],
            setsid=True,
        )
        os.close(reading)
        _guard = (os.getpid(), writing)

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
            for name in _FILES.keys() & set(options.split(",")):
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
            extra = _IN_EVERY_GROUP if version == 2 else ()
            return [CgroupParent(folder, version, (*controllers, *extra))]
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
