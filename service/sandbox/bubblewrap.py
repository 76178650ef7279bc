"""One confined process: the command line of bubblewrap, and its start.

Inside are: Python and its packages, read-only; the system's shared libraries and small programs, read-only; one disk
for /mnt/data, /tmp and /dev/shm together; a /proc of its own and a few devices. There is no network, no other process,
no capability, no system call outside the list, and no other file of the host.

The process is a child that the kernel kills when this process dies, even by `kill -9`; bubblewrap's process 1 dies with
it, and all others with that. The server talks to it through three pipes, which it may fill with anything.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.sandbox.base import DATA, FONTS, MIB, Limits
from service.sandbox.cgroup import Cgroups, find_cgroups
from service.sandbox.contents import MODULES, PROGRAMS, REFUSING_PROGRAMS
from service.sandbox.environment import Environment
from service.sandbox.process import ConfinedProcess
from service.sandbox.seccomp import UnknownMachine, program

PYTHON = "/opt/python/bin/python3"
CODE = "/opt/code"
# If the server runs as root, each sandbox gets a user id of its own from here, which no account has.
_FIRST_ID, _IDS = 63_500, 2_000
_SYSTEM = (
    "/usr/lib", "/usr/lib64", "/usr/lib32", "/usr/bin", "/usr/share/fonts", "/usr/share/fontconfig",
    "/usr/share/zoneinfo",
    "/sys/devices/system/cpu",  # the number of cores, which libraries look for
    # The data of programs that a system may have: git, tesseract, pandoc, pdftotext, ffmpeg.
    "/usr/share/git-core",
    "/usr/share/tesseract-ocr", "/usr/share/tessdata", "/usr/share/pandoc", "/usr/share/poppler", "/usr/share/ffmpeg",
)  # fmt: skip
_LINKED = ("/lib", "/lib64", "/lib32", "/bin")
_ETC = ("/etc/ld.so.cache", "/etc/alternatives", "/etc/fonts")
_FOLDERS = ("data", "tmp", "shm", "code")
_FILES = {
    "etc/passwd": "sandbox:x:1000:1000:sandbox:/tmp:/bin/sh\n",
    "etc/group": "sandbox:x:1000:\n",
    "etc/hosts": "127.0.0.1 localhost\n",
}
# There are no terminals (ptmx, pts, tty): a line discipline is kernel code that nothing inside needs.
_DEVICES = ("full", "null", "random", "urandom", "zero")
_DEVICE_LINKS = {
    "fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
}  # fmt: skip
# Processes beyond `processes`: two of bubblewrap, and the session's own.
_OWN_PROCESSES = 3
_OPEN_FILES = 1024
# CPU seconds of a process beyond those of its session, so that the server, which counts all together, ends it first and
# says why.
_CPU_SLACK_S = 30
# Address space of a process beyond its memory, used if no control group counts the memory: libraries, stacks.
_MAPPED = 1024 * MIB


@dataclass(frozen=True, slots=True)
class SandboxLauncher:
    """The means to confine a process here."""

    environment: Environment
    cgroups: Cgroups
    bwrap: str | None
    system_calls: bytes | None

    def start(self, command: Sequence[str], code: Mapping[str, str], limits: Limits) -> ConfinedProcess:
        """Starts `command` in a sandbox of its own, with the files `code` (name → text) in CODE.

        Must be called on the main thread: the kernel ties the child's life to the thread that forked. Raises OSError.
        """
        assert self.bwrap is not None
        assert self.system_calls is not None
        group = self.cgroups.make(limits.memory + limits.disk, limits.processes + _OWN_PROCESSES)
        sizes = {"DATA": limits.memory, "FSIZE": limits.disk, "NOFILE": _OPEN_FILES, "CORE": 0, "MEMLOCK": 0}
        sizes["CPU"] = limits.cpu_s + _CPU_SLACK_S  # of each process
        if group is None or "memory" not in self.cgroups.controllers:
            sizes["AS"] = limits.memory + _MAPPED
        spec = {
            "disk": {
                "at": str(self.environment.disk),
                "bytes": limits.disk,
                "inodes": limits.inodes,
                "folders": _FOLDERS,
                "files": _FILES | {f"code/{name}": text for name, text in code.items()},
            },
            "filter": self.system_calls.hex(),
            "command": [self.bwrap, *_arguments(self.environment), *command],
            "cgroups": group.join_files if group else [],
            "uid": _FIRST_ID + random.randrange(_IDS) if os.geteuid() == 0 else None,
            "limits": sizes,
            "processes": limits.processes + _OWN_PROCESSES,
            "parent": os.getpid(),
            "environment": _variables(),
        }
        try:
            return ConfinedProcess(_launch(spec), group)
        except BaseException:
            if group is not None:
                group.remove()
            raise


def find_launcher(environment: Environment) -> SandboxLauncher:
    """Finds the means to confine a process here, with this Python."""
    try:
        return SandboxLauncher(environment, find_cgroups(), shutil.which("bwrap"), program())
    except UnknownMachine:
        return SandboxLauncher(environment, find_cgroups(), None, None)


def _arguments(environment: Environment) -> list[str]:
    """Returns bubblewrap's arguments. The check at the start uses the same command line as production."""
    disk = environment.disk
    found = [
        "--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try",
        "--disable-userns", "--uid", "1000", "--gid", "1000", "--hostname", "sandbox", "--cap-drop", "ALL",
        "--new-session", "--die-with-parent",
    ]  # fmt: skip
    for path in _SYSTEM:
        found += ["--ro-bind-try", path, path]
    for path in _LINKED:
        if os.path.islink(path):
            found += ["--symlink", os.readlink(path), path]
        else:
            found += ["--ro-bind-try", path, path]
    for path in _ETC:
        found += ["--ro-bind-try", path, path]
    for path in _FILES:
        found += ["--ro-bind", str(disk / path), f"/{path}"]
    found += ["--ro-bind", str(environment.python), "/opt/python"]
    found += ["--ro-bind", str(environment.packages), "/opt/packages"]
    found += ["--ro-bind", str(environment.matplotlib), "/opt/matplotlib", "--ro-bind", str(environment.fonts), FONTS]
    found += ["--ro-bind", str(disk / "code"), CODE]
    for name in REFUSING_PROGRAMS:
        at = f"/usr/bin/{name}"
        if os.path.isfile(at) and not os.path.islink(at):  # a link may be to a program that does more
            found += ["--ro-bind-try", str(disk / "code" / PROGRAMS / name), at]
    found += ["--proc", "/proc", "--tmpfs", "/dev"]
    for name in _DEVICES:
        found += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    for name, target in _DEVICE_LINKS.items():
        found += ["--symlink", target, f"/dev/{name}"]
    found += ["--bind", str(disk / "shm"), "/dev/shm"]
    found += ["--bind", str(disk / "data"), DATA, "--bind", str(disk / "tmp"), "/tmp"]
    return [*found, "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", DATA, "--seccomp", "FILTER", "--"]


def _variables() -> dict[str, str]:
    threads = str(min(4, os.cpu_count() or 1))
    return {
        "PATH": f"{CODE}/{PROGRAMS}:/opt/python/bin:/usr/bin:/bin",
        "PYTHONPATH": f"{CODE}/{MODULES}:/opt/packages",
        "LD_LIBRARY_PATH": "/opt/python/lib",
        "HOME": "/tmp",
        "USER": "sandbox",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "IPYTHONDIR": "/tmp/.ipython",
        "MPLCONFIGDIR": "/tmp/.matplotlib",
        "NLTK_DATA": "/tmp/.nltk_data",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OPENBLAS_NUM_THREADS": threads,
        "OMP_NUM_THREADS": threads,
        "LOKY_MAX_CPU_COUNT": threads,
    }


def _launch(spec: dict[str, Any]) -> subprocess.Popen[bytes]:
    script = Path(__file__).with_name("bootstrap.py")
    handed = os.memfd_create("launch", 0)
    try:
        os.write(handed, json.dumps(spec).encode())
        os.lseek(handed, 0, os.SEEK_SET)
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(script), str(handed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            pass_fds=(handed,),
            start_new_session=True,
            cwd="/",
            env={"PATH": os.defpath},
        )
    finally:
        os.close(handed)
