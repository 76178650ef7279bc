"""The system-call filter, run by an interpreter of its instructions: the allowed calls, for both processors."""

from __future__ import annotations

import errno
import struct

import pytest

from service.sandbox.seccomp import ALLOWED, MACHINES, NEWEST, UnknownMachine, program

ALLOW, KILL = 0x7FFF_0000, 0x8000_0000
DENIED, MISSING, NO_TERMINAL = (0x0005_0000 | number for number in (errno.EPERM, errno.ENOSYS, errno.ENOTTY))
X86 = MACHINES["x86_64"].audit


def run(code: bytes, number: int, *arguments: int, arch: int = X86) -> int:
    """Returns the answer of the filter: classic BPF, with the five instructions that it uses."""
    data = struct.pack("<iIQ6Q", number, arch, 0, *(list(arguments) + [0] * 6)[:6])
    at, word = 0, 0
    for _ in range(len(code)):
        op, yes, no, value = struct.unpack_from("<HBBI", code, at * 8)
        at += 1
        match op:
            case 0x20:
                word = struct.unpack_from("<I", data, value)[0]
            case 0x15:
                at += yes if word == value else no
            case 0x35:
                at += yes if word >= value else no
            case 0x45:
                at += yes if word & value else no
            case 0x06:
                return int(value)
            case _:
                raise AssertionError(f"unknown instruction {op}")
    raise AssertionError("the program does not end")


def test_listed_calls_pass_and_others_do_not() -> None:
    code = program("x86_64")
    listed = {row.split()[0]: int(row.split()[1]) for row in ALLOWED.split(";") if row.split()[1] != "-"}
    assert all(run(code, number) == ALLOW for number in listed.values())
    denied = {
        "socket": 41, "connect": 42, "bind": 49, "ptrace": 101, "mount": 165, "umount2": 166, "pivot_root": 155,
        "chroot": 161, "setns": 308, "unshare": 272, "bpf": 321, "keyctl": 250, "memfd_create": 319, "userfaultfd": 323,
        "shmget": 29,
        "process_vm_readv": 310, "process_vm_writev": 311, "perf_event_open": 298, "io_uring_setup": 425,
        "pidfd_getfd": 438, "mknod": 133, "mknodat": 259, "setuid": 105, "init_module": 175, "kexec_load": 246,
        "open_by_handle_at": 304, "fsopen": 430, "move_mount": 429, "open_tree": 428, "mount_setattr": 442,
    }  # fmt: skip
    assert not set(denied) & set(listed)
    assert {name: run(code, number) for name, number in denied.items()} == dict.fromkeys(denied, DENIED)


@pytest.mark.parametrize(("name", "clone", "socketpair", "ioctl"), [("x86_64", 56, 53, 16), ("aarch64", 220, 199, 29)])
def test_arguments_decide(name: str, clone: int, socketpair: int, ioctl: int) -> None:
    code, arch = program(name), MACHINES[name].audit
    assert run(code, clone, 0x11, arch=arch) == ALLOW  # SIGCHLD: a fork
    assert run(code, clone, 0x3D0F00, arch=arch) == ALLOW  # what a thread takes
    for namespace in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert run(code, clone, namespace | 0x11, arch=arch) == DENIED
    assert run(code, 435, arch=arch) == MISSING  # clone3: the C library then falls back to clone
    assert run(code, socketpair, 1, arch=arch) == ALLOW
    assert [run(code, socketpair, family, arch=arch) for family in (2, 10, 16, 17)] == [DENIED] * 4
    assert run(code, ioctl, 1, 0x5401, arch=arch) == ALLOW
    assert run(code, ioctl, 0, 0x5412, arch=arch) == NO_TERMINAL  # TIOCSTI


def test_other_conventions_and_younger_calls() -> None:
    code = program("x86_64")
    assert run(code, 1, arch=0x4000_0003) == KILL  # 32-bit calls by number 1
    assert run(code, 0x4000_0000 | 1) == MISSING  # x32
    assert run(code, NEWEST + 1) == MISSING
    assert run(code, NEWEST - 1) in (ALLOW, DENIED)
    with pytest.raises(UnknownMachine):
        program("s390x")
