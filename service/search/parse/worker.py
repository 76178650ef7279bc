"""The parsing process: reads a file's bytes from stdin and writes its text to stdout.

    python -m service.search.parse.worker '{"format": "pdf", "memory": …, "cpu_s": …, "file": …}'

It writes JSON lines: {"ready": true} when all modules are loaded, {"text": str, "page": int or null} in the order of
the file, and finally {"end": true} or {"error": [code, message]}. If neither of these arrives, the process has died,
which a hostile file may cause. The process limits itself before it reads the first byte, inside the sandbox too.
Outside the sandbox these limits, and an account that owns nothing, are the only confinement.
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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from service.search.parse.types import (
    MAGIC,
    PDF_HEAD,
    PDF_MAGIC,
    READ,
    FileFormat,
    ParseFunction,
    UnreadableFile,
)

# Characters of one line on stdout.
LINE = 65_536
# The variable with the user id that the process changes to if root has started it.
HELPER_ID = "HELPER_ID"


def main() -> None:
    request = json.loads(sys.argv[1])
    file_format: FileFormat = request["format"]
    with contextlib.redirect_stdout(sys.stderr), os.fdopen(os.dup(1), "wb") as out:
        find_reader = _import_reader(file_format)
        _limit_self(request["memory"], request["cpu_s"], request["file"])
        _write_line(out, {"ready": True})
        out.flush()
        try:
            with _spool(sys.stdin.buffer) as file:
                for text, page in find_reader(file)(file):
                    _write_text(out, text, page)
            last: dict[str, object] = {"end": True}
        except UnreadableFile as error:
            last = {"error": ["invalid_file", str(error)]}
        except MemoryError:
            last = {"error": ["invalid_file", "The file needs more memory than parsing a file may take."]}
        except RecursionError:
            last = {"error": ["invalid_file", "The file is nested too deeply."]}
        except Exception as error:  # noqa: BLE001 - a parser may raise anything if the file is damaged
            sys.stderr.write(f"{error!r}\n")
            last = {"error": ["invalid_file", f"The file is damaged: it cannot be read as {file_format}."]}
        _write_line(out, last)
    os._exit(0)  # skips the clean-up of the libraries; the memory is freed with the process


def _limit_self(memory: int, cpu_s: int, file: int) -> None:
    """Limits address space (bytes), CPU time (seconds) and the size of written files (bytes), and drops privileges."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    if os.geteuid() == 0:
        if not _is_world_readable(os.__file__):
            _import_encodings()  # only the superuser can read the standard library
        with contextlib.suppress(OSError):  # a container may not have this id
            os.setgroups([])
            uid = int(os.environ[HELPER_ID])
            os.setgid(uid)
            os.setuid(uid)
    for kind, limit in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_FSIZE, file),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_NPROC, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        lower = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (lower, lower))


def _is_world_readable(path: str) -> bool:
    return all(os.stat(folder).st_mode & 0o001 for folder in Path(path).parents)


def _import_encodings() -> None:
    """Imports all encodings, which Python would otherwise import at the first use of each."""
    for module in pkgutil.iter_modules(encodings.__path__):
        with contextlib.suppress(ImportError):  # encodings of other operating systems
            importlib.import_module(f"encodings.{module.name}")


@contextlib.contextmanager
def _spool(stdin: BinaryIO) -> Iterator[BinaryIO]:
    """Copies the whole input to a seekable file, which has no name and is deleted with the process."""
    with tempfile.TemporaryFile() as file:
        while piece := stdin.read(READ):
            file.write(piece)
        file.seek(0)
        yield file


def _import_reader(file_format: FileFormat) -> Callable[[BinaryIO], ParseFunction]:
    """Imports the modules that read files of the format, and returns a function that finds the reader of a file.

    That function raises UnreadableFile if the first bytes are those of no format that people save under the ending.
    """
    if file_format in MAGIC:
        office = importlib.import_module("service.search.parse.office_content")
        return lambda file: office.find_reader(file_format, file)
    reader: ParseFunction = importlib.import_module(f"service.search.parse.{file_format}").parse

    def find_reader(file: BinaryIO) -> ParseFunction:
        if file_format == "pdf" and PDF_MAGIC not in file.read(PDF_HEAD):
            raise UnreadableFile("The file is no pdf file, whatever its name says.")
        file.seek(0)
        return reader

    return find_reader


def _write_text(out: BinaryIO, text: str, page: int | None) -> None:
    """Writes lines of bounded length. NUL and lone surrogates, which Postgres rejects, become U+FFFD."""
    for at in range(0, len(text), LINE):
        piece = text[at : at + LINE].replace("\0", "\ufffd")
        piece = piece.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
        _write_line(out, {"text": piece, "page": page})


def _write_line(out: BinaryIO, line: dict[str, object]) -> None:
    out.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")


if __name__ == "__main__":
    main()
