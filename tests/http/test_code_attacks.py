"""Hostile code through the public API: the outcome of each attack, and a machine that is clean afterwards."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from service.sandbox.bubblewrap import SandboxLauncher
from tests.client import KEY, Client
from tests.conftest import StartServer
from tests.http.helpers import assistant_with, thread_with
from tests.http.test_code_interpreter import CODE, code_steps, run_on, runs, told
from tests.sandbox.calls import control_groups
from tests.scripted import ScriptedServer, says

DENIED = "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\ndef call(*a):\n  ctypes.set_errno(0)\n  libc.syscall(*a)\n  return ctypes.get_errno()\n"
FRAME = "import json, os, struct\ndef frame(head, data=b''):\n  h = json.dumps(head).encode(); return struct.pack('>II', len(h), len(data)) + h + data\ndef send(raw):\n  for fd in range(3, 16):\n    try: os.write(fd, raw)\n    except OSError: pass\n"
TRY = "def said(act):\n  try: act()\n  except OSError as e: return type(e).__name__\n  return 'done'\n"
DONE = "{'kind': 'done', 'call': 1, 'failed': False, 'files': [{'path': '../../etc/passwd', 'size': 1}], 'unlisted': 0}"


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack: its code, the texts that its output must and must not hold, the accepted reasons if the session is
    lost, and the number of images that reach the user.
    """

    code: str
    shows: str = ""
    never: tuple[str, ...] = ()
    lost: tuple[str, ...] = field(default=())
    images: int = 0


ATTACKS = {
    "files of the host": Attack(
        "import os\nprint([p for p in ('/etc/shadow', '/etc/hostname', '/root', '/home', '/var', '/run', '/boot', '/usr/local', "
        "'/tmp/SECRET') if os.path.exists(p)])\n"
        # numpy and its like count the cores there.
        "print([os.path.join(at, n) for at in ('/sys', '/sys/devices', '/sys/devices/system') if os.path.exists(at)"
        " for n in os.listdir(at) if n not in ('devices', 'system', 'cpu')])",
        "[]\n[]",
    ),
    "the host's secret": Attack("print(open('SECRET_PATH').read())", "FileNotFoundError", ("the host's secret",)),
    "processes of others": Attack(
        "import os, glob\nprint(sorted(int(p) for p in os.listdir('/proc') if p.isdigit()))\n"
        "print(b''.join(open(p, 'rb').read() for p in glob.glob('/proc/[0-9]*/environ')).decode())",
        "[1, 2]",
        ("EVERTHREAD", "sk-test", "OPENAI"),
    ),
    "the environment": Attack("import os\nprint(dict(os.environ), os.getuid())", "1000", ("EVERTHREAD", KEY)),
    "sockets": Attack(
        TRY + "import socket\nprint([said(lambda: socket.socket(f, t)) for f, t in ((2, 1), (2, 2), (10, 1), (1, 1), (16, 3), (17, 3), (40, 1))])\n"
        "print(said(lambda: socket.create_connection(('127.0.0.1', 80))), socket.socketpair() is not None)",
        "['PermissionError', 'PermissionError', 'PermissionError', 'PermissionError', 'PermissionError', 'PermissionError', "
        "'PermissionError']\nPermissionError True",
    ),
    "ptrace and memory of others": Attack(
        DENIED + "print(call(101, 16, 1, 0, 0), call(310, 1, 0, 0, 0, 0, 0), call(311, 1, 0, 0, 0, 0, 0), call(438, 3, 0, 0))",
        "1 1 1 1",
    ),
    "mounts": Attack(
        DENIED + "print(call(165, b'none', b'/mnt', b'tmpfs', 0, 0), call(166, b'/proc', 2), call(155, b'/', b'/'), call(161, b'/tmp'))",
        "1 1 1 1",
    ),
    "namespaces": Attack(
        DENIED + "print(call(272, 0x10000000), call(272, 0x20000), call(308, 0, 0), call(56, 0x10000011, 0, 0, 0, 0), call(435, 0, 0))",
        "1 1 1 1 38",
    ),
    "other doors of the kernel": Attack(
        DENIED + "print(call(321, 0, 0, 0), call(425, 1, 0), call(250, 0, 0, 0), call(323, 0), call(298, 0, 0, 0, 0, 0), call(319, b'x', 0), call(29, 0, 1, 0))",
        "1 1 1 1 1 1 1",
    ),
    "devices": Attack(
        TRY + "import os, stat\nprint(said(lambda: os.mknod('sda', 0o600 | stat.S_IFBLK, os.makedev(8, 0))), sorted(os.listdir('/dev')))",
        "PermissionError ['fd', 'full', 'null', 'random', 'shm', 'stderr', 'stdin', 'stdout', 'urandom', 'zero']",
    ),
    "more rights": Attack(TRY + "import os\nprint(said(lambda: os.setuid(0)), said(lambda: os.setgroups([0])))", "PermissionError PermissionError"),
    "writing elsewhere": Attack(
        TRY + "print({said(lambda: open(p + '/x', 'w')) for p in ('/', '/usr/lib', '/opt/python', '/opt/packages', '/opt/code', '/etc', '/dev')})",
        "OSError",
        ("done",),
    ),
    "links out of the folder": Attack(
        TRY + "import os\nos.symlink('/etc/passwd', 'leak.txt'); os.symlink('/', 'root'); print(said(lambda: os.link('/etc/passwd', 'hard.txt')))",
        "OSError",
    ),
    "too much memory": Attack("x = bytearray(3 << 30)", "MemoryError"),
    "too much disk": Attack(
        "import os\ntry:\n  f = open('/tmp/big', 'wb')\n  while True: f.write(bytes(1 << 20))\nexcept OSError as e: print(e.errno, os.path.getsize('/tmp/big') < 70 << 20)\n"
        "os.unlink('/tmp/big')",
        "28 True",
    ),
    "too many files": Attack(
        "import os, shutil\nos.mkdir('/tmp/many')\ntry:\n  for n in range(100_000): open(f'/tmp/many/{n}', 'w').close()\nexcept OSError as e: print(e.errno, n < 17_000)\n"
        "shutil.rmtree('/tmp/many')",
        "28 True",
    ),
    "a fork bomb": Attack(
        "import os\nme = os.getpid()\ntry:\n  while True: os.fork()\nexcept OSError:\n  if os.getpid() == me: print('no more')\n  else: os._exit(0)",
        "no more",
        (),
        ("", "it left processes running"),
    ),
    "threads without end": Attack(
        "import threading, time\ntry:\n  while True: threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\nexcept RuntimeError as e: print(e)",
        "can't start new thread",
    ),
    "exit": Attack("import os; os._exit(0)", lost=("Python ended (exit 0)",)),
    "a segfault": Attack("import ctypes; ctypes.string_at(0)", lost=("Python was ended by SIGSEGV",)),
    "kill -1": Attack(
        "import subprocess; subprocess.run(['python3', '-c', 'import os; os.kill(-1, 9)'])",
        lost=("Python was ended by SIGKILL",),
    ),
    "a daemon": Attack(
        "import os, time\nif not os.fork():\n  os.setsid()\n  if not os.fork():\n    time.sleep(1000)\n  os._exit(0)\nos.wait()",
        lost=("it left processes running",),
    ),
    "a forged end": Attack(FRAME + f"send(frame({DONE}))\nimport time; time.sleep(1000)", lost=("it broke the protocol",)),
    "a frame without end": Attack(FRAME + "send(struct.pack('>II', 2**31, 2**31))\nimport time; time.sleep(1000)", lost=("it broke the protocol",)),
    "images without end": Attack(
        FRAME + "raw = frame({'kind': 'image', 'mime': 'image/png', 'last': False}, bytes(1 << 18))\nwhile True: send(raw)",
        lost=("it sent images without end",),
    ),
    "small images without end": Attack(
        FRAME + "raw = frame({'kind': 'image', 'mime': 'image/png', 'last': True}, b'\\x89PNG\\r\\n\\x1a\\n')\nwhile True: send(raw)",
        lost=("it sent frames without end",),
        images=20,
    ),
    "names that are none": Attack(
        "import os\nfor name in (b'caf\\xe9.txt', b'\\xff' * 255, b'/'.join([b'd' * 200] * 6)):\n"
        "  os.makedirs(b'/mnt/data/' + name); open(b'/mnt/data/' + name + b'/\\xff', 'w').close()\nprint('made')",
        "made",
    ),
    "folders without end": Attack(
        "import os\nos.chdir('/mnt/data')\nfor n in range(3000):\n  os.mkdir('d'); os.chdir('d')\nopen('x', 'w').close(); print('made')", "made"
    ),
    "all descriptors closed": Attack("import os; os.closerange(0, 1024)", lost=("Python ended (exit 1)", "Python ended (exit 120)")),
    "descriptors of output closed": Attack("import os; os.close(1); os.close(2)"),
    "an image that is none": Attack(
        FRAME + "send(frame({'kind': 'image', 'mime': 'image/png', 'last': True}, b'<script>'))", lost=("it broke the protocol",)
    ),
}  # fmt: skip
ENDLESS = {
    "a loop that swallows interrupts": Attack(
        "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass",
        lost=("it did not stop 5 s after an interrupt",),
    ),
    "output without end": Attack(
        "while True: print('x' * 1000)", "xxxx", lost=("", "it did not stop 5 s after an interrupt")
    ),
    "shared memory without end": Attack(
        "import mmap\nheld = []\nwhile True:\n  held.append(mmap.mmap(-1, 1 << 26)); held[-1].write(bytes(1 << 26))",
        lost=("", "it used more memory than it may"),
    ),
}


async def attacked(server: Client, model: ScriptedServer, attacks: dict[str, Attack]) -> dict[str, str]:
    """Runs every attack as one call on the same thread. Returns those with an unexpected outcome, by name."""
    assistant = await assistant_with(server, tools=CODE)
    thread = await thread_with(server, "Go")
    wrong = {}
    for name, attack in attacks.items():
        model.script(runs(attack.code), says("Done."))
        done = await run_on(server, thread, assistant)
        [call] = await code_steps(server, done)
        shown = "".join(output.get("logs", "") for output in call["code_interpreter"]["outputs"])
        heard = told(model.requests[-1])
        lost = heard.partition("the Python session was lost: ")[2].partition(". Variables")[0]
        well = done["status"] == "completed" and attack.shows in shown and lost in (attack.lost or ("",))
        if not well or any(secret in shown for secret in attack.never):
            wrong[name] = f"{done['status']}, lost: {lost!r}, shown: {shown[-800:]!r}"
        message = (await server.get(f"/threads/{thread['id']}/messages"))["data"][0]
        if message["attachments"] or len(message["content"]) != 1 + attack.images:
            wrong[name] = f"files: {message['attachments']}, {message['content']}"
        await server.post(f"/threads/{thread['id']}/messages", {"role": "user", "content": "Go on"})
    model.script(runs("6 * 7"), says("42."))
    [call] = await code_steps(server, await run_on(server, thread, assistant))
    assert call["code_interpreter"]["outputs"] == [{"type": "logs", "logs": "42\n"}]
    return wrong


def left_over() -> list[str]:
    """Returns the sandboxes of this process. One may be ending at this moment."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            found += [" ".join(child.cmdline()[:1])] if "bwrap" in child.name() else []
    return found


async def test_attacks_come_to_nothing(
    launcher: SandboxLauncher, start_server: StartServer, model: ScriptedServer, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("the host's secret")
    before = psutil.Process().memory_info().rss
    attacks = dict(ATTACKS)
    code = attacks["the host's secret"].code.replace("SECRET_PATH", str(secret))
    attacks["the host's secret"] = Attack(code, "FileNotFoundError", ("the host's secret",))
    async with start_server(code_interpreter="on", code_disk_mb=64, code_wall_s=120) as server:
        assert await attacked(server, model, attacks) == {}
    assert left_over() == []
    assert control_groups(launcher) == []
    assert psutil.Process().memory_info().rss - before < 200 * 1024 * 1024


async def test_what_does_not_end_is_ended(
    launcher: SandboxLauncher, start_server: StartServer, model: ScriptedServer
) -> None:
    async with start_server(code_interpreter="on", code_memory_mb=256, code_wall_s=3) as server:
        assert await attacked(server, model, ENDLESS) == {}
    assert left_over() == []
    assert control_groups(launcher) == []


async def test_sparse_files_bring_no_more_than_the_disk_would_hold(
    launcher: SandboxLauncher, start_server: StartServer, model: ScriptedServer, tmp_path: Path
) -> None:
    code = "for n in range(20):\n  with open(f'/mnt/data/s{n:02}.bin', 'wb') as file: file.truncate(12 << 20)"
    async with start_server(code_interpreter="on", code_disk_mb=32, code_wall_s=120) as server:
        before = size_of(tmp_path)
        model.script(runs("kept = 1\n" + code), runs("kept"), says("Done."))
        run = await run_on(server, await thread_with(server, "Go"), await assistant_with(server, tools=CODE))
        assert size_of(tmp_path) - before < 33 << 20
        kept = (await code_steps(server, run))[1]["code_interpreter"]["outputs"]
        assert kept == [{"type": "logs", "logs": "1\n"}]
        [message] = (await server.get(f"/threads/{run['thread_id']}/messages", run_id=run["id"]))["data"]
        assert len(message["attachments"]) == 2
    heard = told(list(model.requests)[1])
    assert "Files made or changed: /mnt/data/s00.bin, /mnt/data/s01.bin\n" in heard
    assert "/mnt/data/s19.bin could not be kept: a call's files may have 33554432 bytes together." in heard


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
