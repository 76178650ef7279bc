"""The last trusted steps before bubblewrap, run as a script: `python -I -S bootstrap.py FD`.

The file descriptor holds a JSON object that bubblewrap.py writes: the control groups to enter, the user to become, the
limits of each process, and the disk. The disk is a tmpfs with a bound on bytes and on files, which
bubblewrap itself cannot set. It is mounted in a user and a mount namespace that this script creates, so it needs no
rights and is visible nowhere else; read-only files of the sandbox are written to it. Then the command replaces this
process.
"""

import ctypes
import json
import os
import resource
import signal
import sys
from typing import Any

_NEWNS, _NEWUSER = 0x0002_0000, 0x1000_0000
_NOSUID, _NODEV, _REC, _SLAVE = 2, 4, 16384, 1 << 19
_SET_PDEATHSIG, _SET_DUMPABLE = 1, 4
_LIBC = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Carries out the object's steps, or ends with one line on stderr."""
    with os.fdopen(int(sys.argv[1]), "rb") as source:
        given = json.loads(source.read())
    for path in given["cgroups"]:
        with open(path, "w") as file:
            file.write(str(os.getpid()))
    if given["uid"] is not None:
        os.setgroups([])
        os.setgid(given["uid"])
        os.setuid(given["uid"])
    for name, value in given["limits"].items():
        _limit(name, value)
    _mount_disk(given["disk"])
    # The change of the user clears this setting, so it comes after. If the parent has died before, no signal arrives.
    _check(_LIBC.prctl(_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0), "prctl")
    if os.getppid() != given["parent"]:
        sys.exit(1)
    _limit("NPROC", given["processes"])
    filter_fd = os.memfd_create("filter", 0)
    os.write(filter_fd, bytes.fromhex(given["filter"]))
    os.lseek(filter_fd, 0, os.SEEK_SET)
    command = [argument if argument != "FILTER" else str(filter_fd) for argument in given["command"]]
    os.execve(command[0], command, given["environment"])


def _limit(name: str, value: int) -> None:
    which = getattr(resource, f"RLIMIT_{name}")
    hard = resource.getrlimit(which)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (value, value))


def _mount_disk(disk: dict[str, Any]) -> None:
    uid, gid = os.getuid(), os.getgid()
    # A process that has changed its user may not write its own maps.
    _check(_LIBC.prctl(_SET_DUMPABLE, 1, 0, 0, 0), "prctl")
    _check(_LIBC.unshare(_NEWUSER | _NEWNS), "user namespaces are forbidden here: unshare")
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    _mount(b"none", b"/", None, _REC | _SLAVE, b"")
    options = f"size={disk['bytes']},nr_inodes={disk['inodes']},mode=0755"
    _mount(b"disk", os.fsencode(disk["at"]), b"tmpfs", _NOSUID | _NODEV, options.encode())
    os.umask(0o022)
    for name, text in disk["files"].items():
        path = os.path.join(disk["at"], name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
        if text.startswith("#!"):
            os.chmod(path, 0o755)
    for name in disk["folders"]:
        os.makedirs(os.path.join(disk["at"], name), exist_ok=True)


def _mount(source: bytes, target: bytes, kind: bytes | None, flags: int, options: bytes) -> None:
    _check(_LIBC.mount(source, target, kind, ctypes.c_ulong(flags), options), f"mount {os.fsdecode(target)}")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        sys.stderr.write(f"{error.strerror or error}\n")
        sys.exit(1)
