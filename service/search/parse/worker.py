"""The parsing process: a file's bytes on stdin, its text on stdout. It meets hostile files and may die of them.

    python -m service.search.parse.worker '{"kind": "pdf", "memory": …, "cpu_s": …, "file": …}'

It writes JSON lines: {"ready": true} when it has all it needs, {"text": str, "page": int or null} in the order of the
file, then {"end": true}, or {"error": [code, message]}. No end means that it died. It limits itself before it reads the
first byte, wherever it runs: in the sandbox the limits hold twice, outside it they are all there is, with an account
that owns nothing.
"""

from __future__ import annotations

import contextlib
import encodings
import importlib
import json
import os
import pkgutil
import resource
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from service.search.parse.types import MAGIC, PDF_HEAD, PDF_MAGIC, READ, Kind, Parse, Unreadable

# Characters of one line on stdout.
LINE = 65_536
_NOBODY = 65534


def main() -> None:
    asked = json.loads(sys.argv[1])
    kind: Kind = asked["kind"]
    with contextlib.redirect_stdout(sys.stderr), os.fdopen(os.dup(1), "wb") as out:
        module = importlib.import_module(f"service.search.parse.{kind}")
        parse: Parse = module.parse
        _confine(asked["memory"], asked["cpu_s"], asked["file"])
        _say(out, {"ready": True})
        out.flush()
        try:
            with _spooled(sys.stdin.buffer) as file:
                _check(kind, file)
                for text, page in parse(file):
                    _write(out, text, page)
            last: dict[str, object] = {"end": True}
        except Unreadable as error:
            last = {"error": ["invalid_file", str(error)]}
        except MemoryError:
            last = {"error": ["invalid_file", "The file needs more memory than parsing a file may take."]}
        except RecursionError:
            last = {"error": ["invalid_file", "The file is nested too deeply."]}
        except Exception as error:  # noqa: BLE001 - whatever a parser raises says that the file is damaged
            sys.stderr.write(f"{error!r}\n")
            last = {"error": ["invalid_file", f"The file is damaged: it cannot be read as {kind}."]}
        _say(out, last)
    os._exit(0)  # what the libraries would still free goes with the process


def _confine(memory: int, cpu_s: int, file: int) -> None:
    """Bytes of address space, seconds of CPU, bytes of the largest file that can be written."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    if os.geteuid() == 0:
        if not _world_readable(os.__file__):
            _import_encodings()  # Python's home is the superuser's own
        with contextlib.suppress(OSError):  # a container may know no user but root
            os.setgroups([])
            os.setgid(_NOBODY)
            os.setuid(_NOBODY)
    for what, limit in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_FSIZE, file),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_NPROC, 0),
    ):
        hard = resource.getrlimit(what)[1]
        lower = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(what, (lower, lower))


def _world_readable(path: str) -> bool:
    return all(os.stat(folder).st_mode & 0o001 for folder in Path(path).parents)


def _import_encodings() -> None:
    """What Python would import at the first use of each."""
    for module in pkgutil.iter_modules(encodings.__path__):
        with contextlib.suppress(ImportError):  # those of another system
            importlib.import_module(f"encodings.{module.name}")


@contextlib.contextmanager
def _spooled(stdin: BinaryIO) -> Iterator[BinaryIO]:
    """The whole input as a file that can be read anywhere; it has no name and goes with the process."""
    with tempfile.TemporaryFile() as file:
        while piece := stdin.read(READ):
            file.write(piece)
        file.seek(0)
        yield file


def _check(kind: Kind, file: BinaryIO) -> None:
    head = file.read(PDF_HEAD)
    file.seek(0)
    fits = PDF_MAGIC in head if kind == "pdf" else kind not in MAGIC or head.startswith(MAGIC[kind])
    if not fits:
        raise Unreadable(f"The file is no {kind} file, whatever its name says.")


def _write(out: BinaryIO, text: str, page: int | None) -> None:
    """What Postgres refuses, NUL and lone surrogates, becomes U+FFFD."""
    for at in range(0, len(text), LINE):
        piece = text[at : at + LINE].replace("\0", "\ufffd")
        piece = piece.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
        _say(out, {"text": piece, "page": page})


def _say(out: BinaryIO, line: dict[str, object]) -> None:
    out.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")


if __name__ == "__main__":
    main()
