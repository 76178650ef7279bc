"""An IPython that answers frames: the process a session is, alone with the code of the model.

Frames come at stdin and go to stdout; both are moved away before any code runs, and what the code and its children
print goes to stderr's pipe, which the server reads as it is. A frame is two big-endian 32-bit lengths, a JSON object
and bytes. Nothing in here protects anybody: code that runs in this process can send whatever it likes. What it can
gain is a session that no longer works.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import shutil
import signal
import stat
import struct
import sys
import threading
from collections.abc import Iterator
from typing import Any, BinaryIO

DATA = "/mnt/data"
CHUNK = 256 * 1024
MOST_FILES = 100  # changed files that are told of
MOST_SCANNED = 5_000
_KINDS = ("image/png", "image/jpeg")

Seen = dict[str, tuple[int, int, int]]


class Wire:
    """The frames' two pipes."""

    def __init__(self, incoming: BinaryIO, outgoing: BinaryIO) -> None:
        self._in = incoming
        self._out = outgoing
        self._turn = threading.Lock()

    def send(self, header: dict[str, Any], payload: bytes = b"") -> None:
        head = json.dumps(header).encode()
        self._out.write(struct.pack(">II", len(head), len(payload)) + head + payload)
        self._out.flush()

    def send_image(self, mime: str, image: bytes) -> None:
        """Returns when the server has taken it: what is printed next comes behind it, though by another pipe."""
        with self._turn:
            for at in range(0, len(image), CHUNK):
                last = at + CHUNK >= len(image)
                self.send({"kind": "image", "mime": mime, "last": last}, image[at : at + CHUNK])
            if image:
                self.receive()

    def receive(self) -> tuple[dict[str, Any], bytes]:
        lengths = self._in.read(8)
        if len(lengths) < 8:
            os._exit(0)  # the server is gone
        head, payload = struct.unpack(">II", lengths)
        return json.loads(self._in.read(head)), self._in.read(payload)


def flush() -> None:
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()


def show(wire: Wire, data: dict[str, Any]) -> None:
    """One displayed object: as an image where it has one, else as text."""
    for mime in _KINDS:
        if mime in data:
            image = data[mime]
            image = base64.b64decode(image) if isinstance(image, str) else bytes(image)
            flush()
            wire.send_image(mime, image)
            return
    if "text/plain" in data:
        sys.stdout.write(f"{data['text/plain']}\n")


def make_shell(wire: Wire) -> Any:
    from IPython.core.displayhook import DisplayHook
    from IPython.core.displaypub import DisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    class Hook(DisplayHook):  # type: ignore[misc]
        def write_output_prompt(self) -> None:
            pass

        def write_format_data(self, format_dict: dict[str, Any], md_dict: Any = None) -> None:
            show(wire, format_dict)

    class Publisher(DisplayPublisher):  # type: ignore[misc]
        def publish(self, data: dict[str, Any], *args: Any, **more: Any) -> None:
            show(wire, data)

        def clear_output(self, wait: bool = False) -> None:
            pass

    class Shell(InteractiveShell):  # type: ignore[misc]
        displayhook_class = Hook
        display_pub_class = Publisher

        def init_virtualenv(self) -> None:
            pass

        def ask_exit(self) -> None:
            sys.stdout.write("The session goes on.\n")

        def system(self, command: str) -> None:
            flush()
            self.system_raw(command)

        def enable_gui(self, gui: str | None = None) -> None:
            pass

    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    config.InteractiveShell.cache_size = 100
    config.InteractiveShell.xmode = "Context"
    shell = Shell.instance(config=config)
    shell.enable_matplotlib("inline")
    return shell


def scan(folder: str = DATA, below: str = "") -> Iterator[tuple[str, tuple[int, int, int]]]:
    """Regular files below DATA that are not hidden: path, (inode, size, time of change). Follows no link."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name == "__pycache__":
                continue
            path = below + entry.name
            with contextlib.suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    yield from scan(entry.path, path + "/")
                elif entry.is_file(follow_symlinks=False):
                    seen = entry.stat(follow_symlinks=False)
                    yield path, (seen.st_ino, seen.st_size, seen.st_mtime_ns)


def look() -> Seen:
    seen: Seen = {}
    for path, what in scan():
        seen[path] = what
        if len(seen) == MOST_SCANNED:
            break
    return seen


def changed(before: Seen, after: Seen, hidden: set[str]) -> list[dict[str, Any]]:
    """What is new or other than before, once a file: not under the name that is only its id, where it has another."""
    found: dict[int, tuple[str, int]] = {}
    for path, what in after.items():
        if before.get(path) != what:
            inode, size, _ = what
            if inode not in found or found[inode][0] in hidden:
                found[inode] = (path, size)
    return [{"path": path, "size": size} for path, size in sorted(found.values())]


def end_helpers() -> None:
    """Ends the helper processes of well-known libraries, which would else be taken for leftovers."""
    with contextlib.suppress(Exception):
        loky = sys.modules.get("joblib.externals.loky.reusable_executor")
        if loky is not None and loky._executor is not None:
            loky._executor.shutdown(wait=True, kill_workers=True)
    for name in ("multiprocessing.resource_tracker", "joblib.externals.loky.backend.resource_tracker"):
        with contextlib.suppress(Exception):
            tracker = sys.modules.get(name)
            if tracker is not None:
                tracker._resource_tracker._stop()


class Runner:
    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._pid = os.getpid()
        self._ids: set[str] = set()
        self._shell = make_shell(wire)

    def serve(self) -> None:
        self._wire.send({"kind": "ready"})
        while True:
            frame, payload = self._wire.receive()
            match frame["do"]:
                case "execute":
                    self._execute(payload.decode("utf-8", "replace"), frame["call"])
                case "put":
                    self._put(frame["names"])
                case "get":
                    self._get(frame["path"])
                case "on":
                    continue  # the leave that an interrupted call no longer waited for
                case _:
                    os._exit(1)

    def _execute(self, code: str, call: int) -> None:
        before, failed = look(), True
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            failed = not self._shell.run_cell(code, store_history=True).success
        except KeyboardInterrupt:
            sys.stdout.write("KeyboardInterrupt\n")
        finally:
            with contextlib.suppress(KeyboardInterrupt):
                signal.signal(signal.SIGINT, signal.SIG_IGN)
        if os.getpid() != self._pid:
            os._exit(0)  # the code forked, and this is the copy
        end_helpers()
        with contextlib.suppress(OSError):
            os.chdir(DATA)
        flush()
        files = changed(before, look(), self._ids)
        told = files[:MOST_FILES]
        end = {"kind": "done", "call": call, "failed": failed, "files": told, "untold": len(files) - len(told)}
        self._wire.send(end)

    def _put(self, names: list[str]) -> None:
        """Writes what comes until "end" under the first name and links the others to it."""
        first = os.path.join(DATA, names[0])
        why = None
        with contextlib.ExitStack() as stack:
            target: BinaryIO | None = None
            try:
                os.makedirs(os.path.dirname(first), exist_ok=True)
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(first)
                target = stack.enter_context(open(first, "xb"))
            except OSError as error:
                why = error.strerror
            while True:
                frame, payload = self._wire.receive()
                if frame["do"] == "end":
                    break
                if target is not None and why is None:
                    try:
                        target.write(payload)
                        target.flush()
                    except OSError as error:
                        why = error.strerror
        if why is None and not frame["whole"]:
            why = "not whole"
        if why is not None:
            with contextlib.suppress(OSError):
                os.unlink(first)
            return self._wire.send({"kind": "refused", "why": why})
        if len(names) > 1:
            self._ids.add(names[0])
        for name in names[1:]:
            with contextlib.suppress(OSError):
                os.link(first, os.path.join(DATA, name))  # a name that is taken keeps what it names
        return self._wire.send({"kind": "end"})

    def _get(self, path: str) -> None:
        try:
            with open_below(path) as file:
                while piece := file.read(CHUNK):
                    self._wire.send({"kind": "data"}, piece)
        except OSError as error:
            self._wire.send({"kind": "refused", "why": error.strerror or "not a regular file"})
        else:
            self._wire.send({"kind": "end"})


def open_below(path: str) -> BinaryIO:
    """A regular file below DATA, by a path in which no part is a link. Raises OSError."""
    folder = os.open(DATA, os.O_PATH | os.O_DIRECTORY)
    *folders, name = path.split("/")
    try:
        for part in folders:
            below = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = below
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError("not a regular file")
    return os.fdopen(fd, "rb")


def main() -> None:
    wire = Wire(os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb"))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    for stream in (sys.stdout, sys.stderr):
        assert isinstance(stream, io.TextIOWrapper)
        stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.makedirs(os.environ["MPLCONFIGDIR"], exist_ok=True)
    shutil.copytree("/opt/fonts", os.environ["MPLCONFIGDIR"], dirs_exist_ok=True)
    os.chdir(DATA)
    sys.path.insert(0, DATA)
    sys.argv = [""]
    Runner(wire).serve()


if __name__ == "__main__":
    main()
