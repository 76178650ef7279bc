"""An IPython that answers packets: the main process of a session, alone with the code of the model.

Packets arrive on stdin and leave on stdout; both are moved away before any code runs. Output of the code and of its
children goes to the pipe of stderr, which the server reads unchanged. A packet is two big-endian 32-bit lengths, a JSON
object and bytes. Nothing in here protects the server: code in this process can send anything. All it can achieve is a
session that no longer works.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import importlib
import importlib.util
import json
import os
import shlex
import shutil
import signal
import struct
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

# network.py, which every Python inside has imported under this name.
network = importlib.import_module("sitecustomize")

CHUNK = 256 * 1024
# Far from the descriptors that code opens, closes and writes to.
KEPT_FD = 900
_KINDS = ("image/png", "image/jpeg")
NOT_SHOWN = "[This kind of output cannot be shown here: save it to a file.]"


def _beside(name: str) -> Any:
    """Loads a module that lies beside this one, under a name that no import of the code can match."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"_everthread_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if TYPE_CHECKING:
    from service.sandbox.inside import disk, fonts
else:
    disk, fonts = _beside("disk"), _beside("fonts")


class PacketPipes:
    """The two pipes of the packets."""

    def __init__(self, incoming: BinaryIO, outgoing: BinaryIO) -> None:
        self._in = incoming
        self._out = outgoing
        self._turn = threading.Lock()

    def send(self, header: dict[str, Any], payload: bytes = b"") -> None:
        head = json.dumps(header).encode()
        self._out.write(struct.pack(">II", len(head), len(payload)) + head + payload)
        self._out.flush()

    def send_image(self, mime: str, image: bytes) -> None:
        """Sends a packet, and returns when the server has taken it: later output arrives behind it, although by another
        pipe.
        """
        with self._turn:
            for at in range(0, len(image), CHUNK):
                last = at + CHUNK >= len(image)
                self.send({"kind": "image", "mime": mime, "last": last}, image[at : at + CHUNK])
            if image:
                self.receive()

    def receive(self) -> tuple[dict[str, Any], bytes]:
        lengths = self._in.read(8)
        if len(lengths) < 8:
            os._exit(0)  # the server has ended
        head, payload = struct.unpack(">II", lengths)
        return json.loads(self._in.read(head)), self._in.read(payload)


def flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


class Streams:
    """stdout and stderr: one pipe, which the server reads. The code may close them or replace them."""

    def __init__(self) -> None:
        self._pipe = fcntl.fcntl(2, fcntl.F_DUPFD_CLOEXEC, KEPT_FD)
        self._ours: dict[str, TextIO] = {}
        self.restore()

    def restore(self) -> None:
        """Restores the streams, so that later output reaches the server."""
        flush()
        for name, fd in (("stdout", 1), ("stderr", 2)):
            os.dup2(self._pipe, fd)
            ours = self._ours.get(name)
            setattr(sys, name, ours)  # the replaced stream may be finalised, and close the stream that it wraps
            if ours is None or not usable(ours):
                ours = os.fdopen(fd, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)
                self._ours[name] = ours
                setattr(sys, name, ours)


def usable(stream: TextIO) -> bool:
    try:
        stream.flush()
    except (OSError, ValueError):  # ValueError: the stream, or the one below it, is closed
        return False
    return not stream.closed


def show(wire: PacketPipes, data: dict[str, Any]) -> None:
    """Sends one displayed object: as an image if it has one, else as text, else a line that it cannot be shown."""
    for mime in _KINDS:
        if mime in data:
            image = data[mime]
            image = base64.b64decode(image) if isinstance(image, str) else bytes(image)
            flush()
            wire.send_image(mime, image)
            return
    sys.stdout.write(f"{data.get('text/plain', NOT_SHOWN)}\n")


def make_shell(wire: PacketPipes) -> Any:
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
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "You executed the system command !(pip|conda)")
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
    fonts.add_fallbacks()
    for name in ("pip", "conda", "mamba", "micromamba", "uv"):
        shell.register_magic_function(run_pip, "line", name)
    return shell


def run_pip(line: str) -> None:
    """Carries out the magics %pip and %conda, which IPython would pass on to a program."""
    importlib.import_module("pip").main(shlex.split(line.removeprefix("pip ")))


def end_helpers() -> None:
    """Ends the helper processes of well-known libraries, which would otherwise count as leftover processes."""
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
    def __init__(self, wire: PacketPipes) -> None:
        self._wire = wire
        self._pid = os.getpid()
        self._put_in = disk.PutIn()
        self._streams = Streams()
        os.environ[network.OUTPUT] = os.readlink("/proc/self/fd/2")
        self._shell = make_shell(wire)

    def serve(self) -> None:
        self._wire.send({"kind": "ready"})
        while True:
            packet, payload = self._wire.receive()
            match packet["do"]:
                case "execute":
                    self._execute(payload.decode("utf-8", "replace"), packet["call"])
                case "put":
                    self._put(packet["path"])
                case "arrange":
                    for path in packet["gone"]:
                        self._put_in.remove(path)
                    for path, name in packet["names"]:
                        self._put_in.name(path, name)
                    self._wire.send({"kind": "end"})
                case "get":
                    self._get(packet["path"])
                case "on":
                    continue  # the permission that an interrupted call did not wait for
                case _:
                    os._exit(1)

    def _execute(self, code: str, call: int) -> None:
        before, failed, error_text = disk.look(), True, ""
        network.reset()
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            failed = not self._shell.run_cell(code, store_history=True).success
        except KeyboardInterrupt:
            error_text = "KeyboardInterrupt\n"
        except BaseException as error:  # noqa: BLE001  # IPython could not tell of it: its streams were taken away
            error_text = "".join(traceback.format_exception_only(error))
        finally:
            with contextlib.suppress(KeyboardInterrupt):
                signal.signal(signal.SIGINT, signal.SIG_IGN)
        if os.getpid() != self._pid:
            os._exit(0)  # the code forked, and this is the copy
        end_helpers()
        with contextlib.suppress(OSError):
            os.chdir(disk.DATA)
        self._streams.restore()
        network.report_unseen()
        sys.stdout.write(error_text)
        flush()
        files = disk.changed_files(before, disk.look(), self._put_in.paths)
        told = disk.tellable(files)
        end = {"kind": "done", "call": call, "failed": failed, "files": told, "unlisted": len(files) - len(told)}
        self._wire.send(end)

    def _put(self, path: str) -> None:
        whole = False

        def pieces() -> Iterator[bytes]:
            nonlocal whole
            while True:
                packet, payload = self._wire.receive()
                if packet["do"] == "end":
                    whole = packet["whole"]
                    return
                yield payload

        why = self._put_in.put(path, pieces())
        if why is None and not whole:
            self._put_in.remove(path)
            why = "not whole"
        self._wire.send({"kind": "end"} if why is None else {"kind": "refused", "why": why})

    def _get(self, path: str) -> None:
        try:
            with disk.open_below(path) as file:
                while piece := file.read(CHUNK):
                    self._wire.send({"kind": "data"}, piece)
        except OSError as error:
            self._wire.send({"kind": "refused", "why": error.strerror or "not a regular file"})
        else:
            self._wire.send({"kind": "end"})


def main() -> None:
    wire = PacketPipes(os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb"))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.makedirs(os.environ["MPLCONFIGDIR"], exist_ok=True)
    shutil.copytree("/opt/matplotlib", os.environ["MPLCONFIGDIR"], dirs_exist_ok=True)
    fonts.drop_stale_list(os.environ["MPLCONFIGDIR"])
    with contextlib.suppress(OSError):  # nltk reads no data of another owner, and the small set has none
        shutil.copytree("/opt/packages/nltk_data", os.environ["NLTK_DATA"])
    os.chdir(disk.DATA)
    sys.path.insert(0, disk.DATA)
    sys.argv = [""]
    Runner(wire).serve()


if __name__ == "__main__":
    main()
