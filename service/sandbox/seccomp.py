"""The system calls that confined code may make: an allow-list as a filter for the kernel (seccomp, classic BPF).

A call that is not listed fails with EPERM, or with ENOSYS if it is newer than this list, so that libraries fall back.
The list omits every call that opens a socket, traces or reads another process, creates or joins a namespace, mounts,
creates memory that no limit counts (memfd, System V), or has a history of vulnerabilities (io_uring, bpf, keyctl,
userfaultfd, perf events).

A filter reads the call's number and arguments as 32-bit words. It cannot follow pointers, so clone3 is refused with
ENOSYS (the C library then uses clone, whose flags can be read). The numbers are those of Linux's headers; x86-64 is
tested, aarch64 is taken from the same headers and untested.
"""

from __future__ import annotations

import errno
import platform
import struct
from dataclasses import dataclass

# name, number on x86-64, number on aarch64; - if a machine lacks the call.
ALLOWED = """
access 21 -; alarm 37 -; arch_prctl 158 -; brk 12 214; cachestat 451 451; capget 125 90; chdir 80 49; chmod 90 -;
chown 92 -; clock_getres 229 114; clock_gettime 228 113; clock_nanosleep 230 115; close 3 57; close_range 436 436;
copy_file_range 326 285; creat 85 -; dup 32 23; dup2 33 -; dup3 292 24; epoll_create 213 -; epoll_create1 291 20;
epoll_ctl 233 21; epoll_pwait 281 22; epoll_pwait2 441 441; epoll_wait 232 -; eventfd 284 -; eventfd2 290 19;
execve 59 221; execveat 322 281; exit 60 93; exit_group 231 94; faccessat 269 48; faccessat2 439 439; fadvise64
221 223; fallocate 285 47; fchdir 81 50; fchmod 91 52; fchmodat 268 53; fchmodat2 452 452; fchown 93 55; fchownat
260 54; fcntl 72 25; fdatasync 75 83; fgetxattr 193 10; flistxattr 196 13; flock 73 32; fork 57 -; fstat 5 80;
fstatfs 138 44; fsync 74 82; ftruncate 77 46; futex 202 98; futex_requeue 456 456; futex_wait 455 455; futex_waitv
449 449; futex_wake 454 454; futimesat 261 -; get_mempolicy 239 236; get_robust_list 274 100; getcpu 309 168;
getcwd 79 17; getdents 78 -; getdents64 217 61; getegid 108 177; geteuid 107 175; getgid 104 176; getgroups 115
158; getitimer 36 102; getpeername 52 205; getpgid 121 155; getpgrp 111 -; getpid 39 172; getppid 110 173;
getpriority 140 141; getrandom 318 278; getresgid 120 150; getresuid 118 148; getrlimit 97 163; getrusage 98 165;
getsid 124 156; getsockname 51 204; getsockopt 55 209; gettid 186 178; gettimeofday 96 169; getuid 102 174;
getxattr 191 8; kill 62 129; lchown 94 -; lgetxattr 192 9; link 86 -; linkat 265 37; listxattr 194 11; llistxattr
195 12; lseek 8 62; lstat 6 -; madvise 28 233; membarrier 324 283; mincore 27 232; mkdir 83 -; mkdirat 258 34;
mlock 149 228; mmap 9 222; mprotect 10 226; mremap 25 216; mseal 462 462; msync 26 227; munlock 150 229; munmap 11
215; nanosleep 35 101; newfstatat 262 79; open 2 -; openat 257 56; openat2 437 437; pause 34 -; pidfd_open 434
434; pidfd_send_signal 424 424; pipe 22 -; pipe2 293 59; poll 7 -; ppoll 271 73; prctl 157 167; pread64 17 67;
preadv 295 69; preadv2 327 286; prlimit64 302 261; pselect6 270 72; pwrite64 18 68; pwritev 296 70; pwritev2 328
287; read 0 63; readahead 187 213; readlink 89 -; readlinkat 267 78; readv 19 65; recvfrom 45 207; recvmmsg 299
243; recvmsg 47 212; rename 82 -; renameat 264 38; renameat2 316 276; restart_syscall 219 128; rmdir 84 -; rseq
334 293; rt_sigaction 13 134; rt_sigpending 127 136; rt_sigprocmask 14 135; rt_sigqueueinfo 129 138; rt_sigreturn
15 139; rt_sigsuspend 130 133; rt_sigtimedwait 128 137; rt_tgsigqueueinfo 297 240; sched_get_priority_max 146 125;
sched_get_priority_min 147 126; sched_getaffinity 204 123; sched_getattr 315 275; sched_getparam 143 121;
sched_getscheduler 145 120; sched_rr_get_interval 148 127; sched_setaffinity 203 122; sched_setparam 142 118;
sched_setscheduler 144 119; sched_yield 24 124; select 23 -; sendfile 40 71; sendmmsg 307 269; sendmsg 46 211;
sendto 44 206; set_robust_list 273 99; set_tid_address 218 96; setitimer 38 103; setpgid 109 154; setpriority 141
140; setrlimit 160 164; setsid 112 157; setsockopt 54 208; shutdown 48 210; sigaltstack 131 132; signalfd 282 -;
signalfd4 289 74; splice 275 76; stat 4 -; statfs 137 43; statx 332 291; symlink 88 -; symlinkat 266 36;
sync_file_range 277 84; syncfs 306 267; sysinfo 99 179; tee 276 77; tgkill 234 131; time 201 -; timer_create 222
107; timer_delete 226 111; timer_getoverrun 225 109; timer_gettime 224 108; timer_settime 223 110; timerfd_create
283 85; timerfd_gettime 287 87; timerfd_settime 286 86; times 100 153; tkill 200 130; truncate 76 45; umask 95
166; uname 63 160; unlink 87 -; unlinkat 263 35; utime 132 -; utimensat 280 88; utimes 235 -; vfork 58 -; wait4 61
260; waitid 247 95; write 1 64; writev 20 66
"""
# Calls that depend on their first or second argument.
CLONE, CLONE3, IOCTL, SOCKETPAIR = (56, 220), (435, 435), (16, 29), (53, 199)
NEWEST = 462  # the newest number that existed when the list was made

# CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_NAMESPACES = 0x0002_0000 | 0x0200_0000 | 0x0400_0000 | 0x0800_0000 | 0x1000_0000 | 0x2000_0000 | 0x4000_0000
_AF_UNIX = 1
# Terminal attributes, sizes and groups, which programs ask for to learn that there is no terminal; available bytes;
# blocking and close-on-exec. TIOCSTI, which types into a terminal, and the opening of pseudo-terminals are omitted.
_IOCTLS = (
    0x5401, 0x5402, 0x5403, 0x5404, 0x540B, 0x540E, 0x540F, 0x5410, 0x5411, 0x5413, 0x5414, 0x541B, 0x5421, 0x5422,
    0x5429, 0x5450, 0x5451,
)  # fmt: skip

# Classic BPF (linux/filter.h, linux/seccomp.h, linux/audit.h).
_LOAD, _JEQ, _JGE, _JSET, _RET = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCH, _ARG0, _ARG1 = 0, 4, 16, 24  # offsets in struct seccomp_data; little-endian low words
_ALLOW, _ERRNO, _KILL = 0x7FFF_0000, 0x0005_0000, 0x8000_0000
_X32 = 0x4000_0000


class UnknownMachine(Exception):
    """There is no list of system calls for this machine's processor."""


@dataclass(frozen=True, slots=True)
class Machine:
    """`audit` is the kernel's number of the calling convention, `column` the machine's column in ALLOWED."""

    audit: int
    column: int


MACHINES = {"x86_64": Machine(0xC000_003E, 0), "aarch64": Machine(0xC000_00B7, 1)}


def numbers(machine: Machine) -> list[int]:
    """Returns the calls that are allowed with any arguments."""
    rows = (row.split() for row in ALLOWED.replace("\n", " ").split(";"))
    return sorted(int(row[1 + machine.column]) for row in rows if row[1 + machine.column] != "-")


def program(name: str | None = None) -> bytes:
    """Returns the filter for bubblewrap, for a machine named as by `uname -m`. Raises UnknownMachine."""
    name = name or platform.machine()
    machine = MACHINES.get(name)
    if machine is None:
        raise UnknownMachine(f"no system-call filter is written for {name}")
    denied, unknown = _ERRNO | errno.EPERM, _ERRNO | errno.ENOSYS
    code = [
        _op(_LOAD, _ARCH),
        _op(_JEQ, machine.audit, 1, 0),
        _op(_RET, _KILL),
        _op(_LOAD, _NUMBER),
        _op(_JGE, _X32, 0, 1),
        _op(_RET, unknown),
    ]
    for number in numbers(machine):
        code += [_op(_JEQ, number, 0, 1), _op(_RET, _ALLOW)]
    code += [_op(_JEQ, CLONE3[machine.column], 0, 1), _op(_RET, unknown)]
    code += _when(CLONE[machine.column], _ARG0, [_op(_JSET, _NAMESPACES, 0, 1), _op(_RET, denied), _op(_RET, _ALLOW)])
    code += _when(SOCKETPAIR[machine.column], _ARG0, [*_equal(_AF_UNIX), _op(_RET, denied)])
    accepted = [op for request in _IOCTLS for op in _equal(request)]
    code += _when(IOCTL[machine.column], _ARG1, [*accepted, _op(_RET, _ERRNO | errno.ENOTTY)])
    code += [_op(_JGE, NEWEST + 1, 0, 1), _op(_RET, unknown), _op(_RET, denied)]
    return b"".join(code)


def _op(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("<HBBI", code, yes, no, value)


def _equal(value: int) -> list[bytes]:
    return [_op(_JEQ, value, 0, 1), _op(_RET, _ALLOW)]


def _when(number: int, argument: int, then: list[bytes]) -> list[bytes]:
    """Returns instructions that run `then`, which must return, over an argument of the call `number`."""
    return [_op(_JEQ, number, 0, len(then) + 1), _op(_LOAD, argument), *then]
